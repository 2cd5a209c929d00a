# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Episodes for reinforcement learning: several worlds at a time, one batched pass for all of them.

They run without ROS, but with the motion layer of the node, its limits, and its latency.
"""

from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vla_ros.training.actor import Actor
from vla_ros.training.actor import SampledActions
from vla_ros.training.node_arm import NodeArm
from vla_ros.worlds.outcomes import Episode
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.scene import draw_scene
from vla_ros.worlds.tasks import ALL_TASKS
from vla_ros.worlds.tasks import SuccessDetector
from vla_ros.worlds.world import World

# Seconds from image to image, and from an image to its action; drawn for each trial.
_PERIODS = (0.06, 0.08, 0.10, 0.14)


@dataclass(frozen=True)
class Trial:
    """
    An episode to be run.

    :param scene: seed of the scene.
    :param task: index in ``ALL_TASKS``; its block is there.
    :param member: number in its group; scene, task and member decide the samples.
    :param temperature: of the sampling; 0 takes the best token.
    :param seconds: after which it is given up.
    """

    scene: int
    task: int
    member: int = 0
    temperature: float = 0.0
    seconds: float = 15.0


@dataclass(frozen=True)
class Trajectory:
    """
    An episode that was run; N actions of D dimensions.

    :param images: uint8 (N, S, S, 3), resized.
    :param tokens: int64 (N, D).
    :param log_probs: float32 (N, D), at the temperature of the trial.
    :param valid: bool (N,), whether the tokens are an action.
    """

    trial: Trial
    episode: Episode
    images: np.ndarray
    tokens: np.ndarray
    log_probs: np.ndarray
    valid: np.ndarray

    def choose(self, count: int) -> 'Trajectory':
        """Keep some of the actions, drawn at random, so that long episodes weigh no more."""
        if len(self.tokens) <= count:
            return self
        rng = np.random.default_rng([31, self.trial.scene, self.trial.task, self.trial.member])
        rows = np.sort(rng.choice(len(self.tokens), count, replace=False))
        return Trajectory(self.trial, self.episode, self.images[rows], self.tokens[rows],
                          self.log_probs[rows], self.valid[rows])


class _Run:
    """A trial that is being run in a world."""

    def __init__(self, arm: NodeArm, world: World, trial: Trial) -> None:
        self.arm = arm
        self.world = world
        self.trial = trial
        self.task = ALL_TASKS[trial.task]
        self.rng = np.random.default_rng([29, trial.scene, trial.task, trial.member])
        world.reset(draw_scene(trial.scene, (self.task.color,)))
        arm.reset()
        self._period = float(self.rng.choice(_PERIODS))
        self._detector = SuccessDetector(self.task, world.state())
        self._images: list[np.ndarray] = []
        self._sampled: list[SampledActions] = []

    def advance(self, image: np.ndarray, sampled: SampledActions) -> None:
        """Advance by a period; the action for an image begins at its end."""
        self._images.append(image)
        self._sampled.append(sampled)
        self.arm.step(self._period)
        if sampled.action is None:
            self.arm.hold()
        else:
            self.arm.execute(sampled.action)
        self._detector.observe(self.world.state())

    def is_over(self) -> bool:
        """Return whether the task is decided, hopeless, or out of time."""
        now = self.world.state()
        return (self._detector.decided is not None or now.time >= self.trial.seconds
                or min(block[2] for block in now.blocks.values()) < 0)  # it has left the table

    def finish(self) -> Trajectory:
        """Return the result."""
        episode = Episode(self.trial.scene, self.task, self._detector.decided or '',
                          self.world.time)
        return Trajectory(
            self.trial, episode, np.stack(self._images),
            np.stack([one.tokens for one in self._sampled]),
            np.stack([one.log_probs for one in self._sampled]),
            np.array([one.action is not None for one in self._sampled]))


class ParallelWorlds:
    """Worlds that share an actor; each takes the next trial as soon as it is free."""

    def __init__(self, actor: Actor, count: int) -> None:
        self.actor = actor
        self._count = count
        self._worlds: list[tuple[NodeArm, World]] = []

    def run(self, trials: Iterable[Trial],
            finish: Callable[[Trajectory], Iterable[Trial]]) -> None:
        """
        Run trials, and those that follow from them.

        :param finish: called with each result; gives further trials.
        """
        waiting, running = deque(trials), list[_Run]()
        while len(self._worlds) < min(self._count, len(waiting)):
            world = World(Robot.load())
            self._worlds.append((NodeArm(world, self.actor.space.unnorm_key), world))
        free = list(self._worlds)
        while waiting or running:
            while waiting and free:
                running.append(_Run(*free.pop(), waiting.popleft()))
            self._advance(running)
            for run in [run for run in running if run.is_over()]:
                running.remove(run)
                free.append((run.arm, run.world))
                waiting.extend(finish(run.finish()))

    def _advance(self, running: list[_Run]) -> None:
        images = [self.actor.space.resize(run.world.render()) for run in running]
        sampled = self.actor.act(
            images, [run.task.instruction for run in running],
            [self.actor.noise(run.rng, run.trial.temperature) for run in running],
            [run.trial.temperature for run in running])
        for run, image, one in zip(running, images, sampled):
            run.advance(image, one)
