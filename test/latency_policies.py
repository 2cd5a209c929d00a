# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Policies of the tabletop for bench_latency.py: the expert in chunks, and a trained L1 head."""

from copy import copy
from copy import deepcopy
from pathlib import Path

import numpy as np

from vla_ros.evaluation.pair import shipped_checkpoint
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.training.disturbance import Disturbance
from vla_ros.worlds.expert import Expert
from vla_ros.worlds.robot import UnreachableError
from vla_ros.worlds.scene import draw_scene
from vla_ros.worlds.tasks import ALL_TASKS
from vla_ros.worlds.tasks import KINDS
from vla_ros.worlds.tasks import SuccessDetector
from vla_ros.worlds.tasks import Task
from vla_ros.worlds.world import mujoco
from vla_ros.worlds.world import World

#: Seconds of an action, and actions of a chunk.
PERIOD, CHUNK = 0.1, 8
#: Noise of the noisy expert in rad: of a whole chunk, and of each action.
_CHUNK_NOISE, _ACTION_NOISE = 0.02, 0.004
_FEATURES = 7 + 3 + 3 + len(KINDS)


class ExpertChunks:
    """
    Gives what an arm led by the expert does next: joint positions, 0.1 s apart.

    Simulated on a copy of the world, so it is as good as a chunk can be.
    """

    name = 'expert'

    def __init__(self, world: World) -> None:
        self._world = world
        self._expert = Expert(world.robot)
        self._data = mujoco.MjData(world.model)

    def infer(self, task: Task) -> np.ndarray:
        """Return a chunk, float64 (8, 7), rad and m."""
        world = self._world
        ahead = copy(world)
        ahead.data, ahead._follower = self._data, deepcopy(world._follower)
        mujoco.mj_copyData(ahead.data, world.model, world.data)
        chunk = []
        for _ in range(CHUNK):
            try:
                ahead.command(self._expert.act(task, ahead.state()))
            except UnreachableError:
                ahead.stop()
            ahead.step(PERIOD)
            chunk.append(ahead._follower.set_point.copy())
        return np.array(chunk)


class NoisyChunks(ExpertChunks):
    """The expert with errors like those of a model: chunks do not continue one another."""

    name = 'noisy'

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._random = np.random.default_rng(1)

    def infer(self, task: Task) -> np.ndarray:
        """Return a chunk, float64 (8, 7), rad and m."""
        chunk = super().infer(task)
        chunk[:, :6] += _CHUNK_NOISE * self._random.standard_normal(6)
        chunk[:, :6] += _ACTION_NOISE * self._random.standard_normal((CHUNK, 6))
        return chunk


def describe(world: World, task: Task) -> np.ndarray:
    """Return the input of the L1 policy, float64 (16,): joints, tool, offset of block, task."""
    now = world.state()
    kind = [float(task.kind == name) for name in KINDS]
    return np.array([*world.joint_positions(), *now.tool, *(now.blocks[task.color] - now.tool),
                     *kind])


class L1Chunks:
    """
    A small network trained on the expert's chunks with the L1 loss.

    It sees the state instead of an image, which makes its training a matter of minutes, and gives
    positions from where the joints are measured.
    """

    name = 'l1'

    def __init__(self, world: World, file: Path, episodes: int) -> None:
        import torch
        self._world, self._torch = world, torch
        torch.set_num_threads(1)
        torch.manual_seed(0)
        layers: list = []
        for width in (_FEATURES, 256, 256):
            layers += [torch.nn.Linear(width, 256), torch.nn.GELU()]
        self._net = torch.nn.Sequential(*layers, torch.nn.Linear(256, CHUNK * 7))
        if file.exists():
            data = torch.load(file, weights_only=True)
        else:
            data = self._train(*record(world, episodes))
            torch.save(data, file)
        self._mean, self._scale, self._step = (data[key].numpy()
                                               for key in ('mean', 'scale', 'step'))
        self._net.load_state_dict(data['net'])

    def infer(self, task: Task) -> np.ndarray:
        """Return a chunk, float64 (8, 7), rad and m."""
        seen = describe(self._world, task)
        inputs = self._torch.tensor((seen - self._mean) / self._scale, dtype=self._torch.float32)
        with self._torch.no_grad():
            steps = self._net(inputs).numpy().reshape(CHUNK, 7)
        return seen[:7] + self._step * steps

    def _train(self, seen: np.ndarray, chunks: np.ndarray, steps: int = 6000) -> dict:
        torch = self._torch
        mean, scale = seen.mean(0), seen.std(0) + 1e-6
        moves = chunks - seen[:, None, :7]
        step = moves.std((0, 1)) + 1e-6
        inputs = torch.tensor((seen - mean) / scale, dtype=torch.float32)
        wanted = torch.tensor(moves / step, dtype=torch.float32).flatten(1)
        optimizer = torch.optim.AdamW(self._net.parameters(), 1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps)
        for number in range(steps):
            rows = torch.randint(len(inputs), (256,))
            loss = torch.nn.functional.l1_loss(self._net(inputs[rows]), wanted[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if number % 1000 == 999:
                print(f'L1 loss after {number + 1} steps: {loss.item():.4f}', flush=True)
        return {'net': self._net.state_dict(), 'mean': torch.tensor(mean),
                'scale': torch.tensor(scale), 'step': torch.tensor(step)}


def record(world: World, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Record the expert's chunks while its commands are perturbed now and then.

    :returns: what the policy sees, float64 (N, 16), and the chunks, float64 (N, 8, 7).
    """
    expert, chunks = Expert(world.robot), ExpertChunks(world)
    seen, given = [], []
    for index in range(episodes):
        task, random = ALL_TASKS[index % len(ALL_TASKS)], np.random.default_rng([5, index])
        disturb = Disturbance(random).apply
        world.reset(draw_scene(2**64 + index, (task.color,)))
        detector = SuccessDetector(task, world.state())
        while detector.decided is None and world.time < 12.0:
            try:
                goal = expert.act(task, world.state())
                seen.append(describe(world, task))
                given.append(chunks.infer(task))
            except (UnreachableError, KeyError):
                break
            world.command(disturb(goal))
            world.step(PERIOD)
            detector.observe(world.state())
    print(f'{len(seen)} states of {episodes} demonstrations', flush=True)
    return np.array(seen), np.array(given)


class TokenPolicy:
    """The small model that comes with the package: one goal, from an image."""

    name = 'token'

    def __init__(self, world: World) -> None:
        self._world = world
        self._policy = load_policy(PolicyConfig(str(shipped_checkpoint()), device='cpu'))

    def infer(self, task: Task) -> np.ndarray:
        """Return a goal, float64 (1, 7), rad and m."""
        image = self._world.render()
        return self._policy.infer(Observation((image,), task.instruction)).actions
