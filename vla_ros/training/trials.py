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
import math

import numpy as np
from torch import Tensor

from vla_ros.training.actor import ActionSpace
from vla_ros.training.actor import Actor
from vla_ros.training.actor import SampledActions
from vla_ros.training.node_arm import NodeArm
from vla_ros.worlds.outcomes import Episode
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.scene import draw_scene
from vla_ros.worlds.tasks import ALL_TASKS
from vla_ros.worlds.tasks import SuccessDetector
from vla_ros.worlds.world import World

# Seconds from image to image, and from an image to its action; drawn for each scene and task.
_PERIODS = (0.06, 0.08, 0.10, 0.14)
# An arm whose joints have moved less (rad, m) from one image to the next is at rest.
_REST = 0.002


@dataclass(frozen=True)
class Trial:
    """
    An episode to be run: some actions are given, some recorded for training, then it goes on.

    It takes the best tokens, but for recorded ones that are sampled.

    :param scene: seed of the scene.
    :param task: index in ``ALL_TASKS``; its block is there.
    :param member: number in its group; scene, task and member decide the samples.
    :param replayed: tokens of the first actions, which are executed without an image.
    :param recorded: how many actions after those are recorded.
    :param is_sampled: whether these are sampled.
    :param temperature: of the sampling, and of the log-probabilities.
    :param seconds: after the replayed actions, in which it has to succeed.
    :param patience: seconds at rest after which it has failed.
    """

    scene: int
    task: int
    member: int = 0
    replayed: tuple[tuple[int, ...], ...] = ()
    recorded: int = 0
    is_sampled: bool = False
    temperature: float = 1.0
    seconds: float = 15.0
    patience: float = math.inf


@dataclass(frozen=True)
class Trajectory:
    """
    An episode that was run; N actions of D dimensions, K of them recorded.

    :param began: simulated seconds at the end of the replayed actions.
    :param actions: tokens of all actions, int64 (N, D).
    :param resting: bool (N,), whether the arm rested until the next image.
    :param images: uint8 (K, S, S, 3), resized.
    :param tokens: int64 (K, D).
    :param log_probs: float32 (K, D), at the temperature of the trial.
    :param valid: bool (K,), whether the tokens are an action.
    """

    trial: Trial
    episode: Episode
    began: float
    actions: np.ndarray
    resting: np.ndarray
    images: np.ndarray
    tokens: np.ndarray
    log_probs: np.ndarray
    valid: np.ndarray

    @property
    def stalled(self) -> int:
        """Index of the action since which the arm rested until the end; N if it moved."""
        moved = np.flatnonzero(~self.resting)
        return int(moved[-1]) + 1 if len(moved) else 0


class _Run:
    """A trial that is being run in a world."""

    def __init__(self, arm: NodeArm, world: World, trial: Trial, space: ActionSpace) -> None:
        self.arm = arm
        self.world = world
        self.trial = trial
        self.task = ALL_TASKS[trial.task]
        self._rng = np.random.default_rng([29, trial.scene, trial.task, trial.member])
        world.reset(draw_scene(trial.scene, (self.task.color,)))
        arm.reset()
        # The same for all members: they repeat the first actions of one episode.
        self._period = float(np.random.default_rng([29, trial.scene, trial.task]).choice(_PERIODS))
        self._detector = SuccessDetector(self.task, world.state())
        self._images: list[np.ndarray] = []
        self._recorded: list[SampledActions] = []
        self._actions: list[np.ndarray] = []
        self._resting: list[bool] = []
        for tokens in np.array(trial.replayed, np.int64):
            self._execute(tokens, space.action(tokens))
        self._began = world.time

    @property
    def _records(self) -> bool:
        return len(self._recorded) < self.trial.recorded

    def noise(self, actor: Actor) -> Tensor | None:
        """Return what makes the next action a sample; None for the best tokens."""
        if not (self._records and self.trial.is_sampled):
            return None
        return actor.noise(self._rng, self.trial.temperature)

    def advance(self, image: np.ndarray, found: SampledActions) -> None:
        """Advance by a period; the action for an image begins at its end."""
        if self._records:
            self._images.append(image)
            self._recorded.append(found)
        self._execute(found.tokens, found.action)

    def is_over(self) -> bool:
        """Return whether the task is decided, hopeless, or out of time."""
        now = self.world.state()
        return (self._detector.decided is not None
                or now.time - self._began >= self.trial.seconds
                or self._rest() >= self.trial.patience
                or min(block[2] for block in now.blocks.values()) < 0)  # it has left the table

    def finish(self) -> Trajectory:
        """Return the result."""
        episode = Episode(self.trial.scene, self.task, self._detector.decided or '',
                          self.world.time)
        return Trajectory(
            self.trial, episode, self._began, np.stack(self._actions), np.array(self._resting),
            np.array(self._images), np.array([one.tokens for one in self._recorded]),
            np.array([one.log_probs for one in self._recorded]),
            np.array([one.action is not None for one in self._recorded]))

    def _execute(self, tokens: np.ndarray, action: np.ndarray | None) -> None:
        before = self.world.joint_positions()
        self.arm.step(self._period)
        if action is None:
            self.arm.hold()
        else:
            self.arm.execute(action)
        self._actions.append(tokens)
        self._resting.append(bool(
            np.abs(self.world.joint_positions() - before).max() < _REST))
        self._detector.observe(self.world.state())

    def _rest(self) -> float:
        """Return for how many seconds the arm has been at rest since the replayed actions."""
        count = 0
        for resting in reversed(self._resting[len(self.trial.replayed):]):
            if not resting:
                break
            count += 1
        return count * self._period


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
                running.append(_Run(*free.pop(), waiting.popleft(), self.actor.space))
            self._advance(running)
            for run in [run for run in running if run.is_over()]:
                running.remove(run)
                free.append((run.arm, run.world))
                waiting.extend(finish(run.finish()))

    def _advance(self, running: list[_Run]) -> None:
        images = [self.actor.space.resize(run.world.render()) for run in running]
        sampled = self.actor.act(
            images, [run.task.instruction for run in running],
            [run.noise(self.actor) for run in running],
            [run.trial.temperature for run in running])
        for run, image, found in zip(running, images, sampled):
            run.advance(image, found)
