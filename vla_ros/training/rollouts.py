# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Rollouts for DAgger: episodes of the model itself, each state labelled by the expert.

S. Ross et al., "A reduction of imitation learning and structured prediction to no-regret online
learning" (2011). The episodes run here, without ROS, at the control period and with the
latency of the node.
"""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from vla_ros.errors import InvalidAction
from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.policy.base import Observation
from vla_ros.policy.base import Policy
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.training.disturbance import Disturbance
from vla_ros.training.samples import make_sampler
from vla_ros.training.samples import Sampler
from vla_ros.training.samples import Samples
from vla_ros.training.seeds import rollout_seed
from vla_ros.training.shards import save_arrays
from vla_ros.worlds.outcomes import Episode
from vla_ros.worlds.robot import UnreachableError
from vla_ros.worlds.scene import draw_scene
from vla_ros.worlds.tasks import ALL_TASKS
from vla_ros.worlds.tasks import SuccessDetector
from vla_ros.worlds.tasks import WorldState
from vla_ros.worlds.world import World

# Each shard asks for every task once.
_SHARD = len(ALL_TASKS)
_SECONDS = 12.0
_PERIOD = 0.1
_PERIODS = (0.08, 0.16)
# A state is labelled when something has moved so far, m; an episode ends when nothing has moved
# for so long, s.
_MOVED, _STILL = 0.006, 2.0


@dataclass(frozen=True)
class Rollouts:
    """
    The episodes of a round, one after the other.

    :param samples: the labelled states of all of them.
    :param episodes: the outcome of each.
    :param disturbed: whether its actions were perturbed.
    """

    samples: Samples
    episodes: list[Episode]
    disturbed: list[bool]


class RolloutWorker:
    """Runs episodes of a policy in a world of its own."""

    def __init__(self, sampler: Sampler, policy: Policy) -> None:
        self._sampler = sampler
        self._world: World = sampler.world
        self._policy = policy

    def run(self, seed: int, number: int, index: int) -> Rollouts:
        """
        Run one episode, a function of its numbers and the policy.

        :param number: of the round.
        :param index: of the episode in it; every other dozen is perturbed.
        """
        rng = np.random.default_rng([13, seed, number, index])
        first, disturbed = index % len(ALL_TASKS), bool(index // len(ALL_TASKS) % 2)
        scene = draw_scene(rollout_seed(seed, number, index), (ALL_TASKS[first].color,))
        self._world.reset(scene)
        self._policy.reset()
        period = float(rng.uniform(*_PERIODS)) if disturbed else _PERIOD
        disturb = Disturbance(rng).apply if disturbed else lambda action: action
        labelled: list[Samples] = []
        detector = self._run_task(first, period, disturb, labelled)
        episode = Episode(rollout_seed(seed, number, index), detector.task,
                          detector.decided or '', self._world.time)
        # The second task starts from the pose in which the first one ended.
        possible = [i for i, task in enumerate(ALL_TASKS) if task.color in scene.blocks]
        self._run_task(int(rng.choice(possible)), period, disturb, labelled)
        return Rollouts(Samples.join(labelled), [episode], [disturbed])

    def _run_task(self, index: int, period: float, disturb: Callable[[np.ndarray], np.ndarray],
                  labelled: list[Samples]) -> SuccessDetector:
        """Run a task until it is decided, nothing moves, or the time is up."""
        world, task = self._world, ALL_TASKS[index]
        detector = SuccessDetector(task, world.state())
        last, since = np.zeros(0), world.time
        while detector.decided is None and world.time < _SECONDS and world.time - since < _STILL:
            now = world.state()
            if min(block[2] for block in now.blocks.values()) < 0:  # it has left the table
                break
            image, positions = world.render(), _positions(now)
            if last.shape != positions.shape or np.abs(positions - last).max() > _MOVED:
                try:
                    labelled.append(self._sampler.label(index, image))
                except UnreachableError:
                    break
                last, since = positions, world.time
            action = self._predict(image, task.instruction)
            # The command for an image arrives one period later.
            world.step(period)
            if action is not None:
                world.command(disturb(action))
            detector.observe(world.state())
        return detector

    def _predict(self, image: np.ndarray, instruction: str) -> np.ndarray | None:
        try:
            return self._policy.infer(Observation((image,), instruction)).actions[0]
        except InvalidAction:
            return None


def _positions(now: WorldState) -> np.ndarray:
    """Positions of the tool, the finger and the blocks, float64 (N, 3), m."""
    return np.array([now.tool, [now.gripper] * 3, *now.blocks.values()])


def roll_out(checkpoint: Path, folder: Path, seed: int, number: int, episodes: int,
             workers: int, report: Callable[[int], None]) -> Rollouts:
    """
    Run the episodes of a round, or read the files of an earlier call.

    :param checkpoint: folder of the model.
    :param folder: keeps the episodes.
    :param workers: processes that run episodes at the same time.
    :param report: called with the number of finished episodes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [_Job(folder / f'part_{start // _SHARD:03d}.npz', seed, number,
                 range(start, min(start + _SHARD, episodes)))
            for start in range(0, episodes, _SHARD)]
    missing = [job for job in jobs if not job.path.is_file()]
    done = sum(len(job.episodes) for job in jobs if job not in missing)
    for count in _run_all(checkpoint, missing, workers):
        done += count
        report(done)
    return _join([_read(job) for job in jobs])


@dataclass(frozen=True)
class _Job:
    """A shard of episodes to be run."""

    path: Path
    seed: int
    number: int
    episodes: range

    def run(self, worker: RolloutWorker) -> int:
        rollouts = _join([worker.run(self.seed, self.number, index) for index in self.episodes])
        decided = [episode.decided for episode in rollouts.episodes]
        seconds = [episode.seconds for episode in rollouts.episodes]
        save_arrays(self.path, {**vars(rollouts.samples), 'decided': np.array(decided, 'U10'),
                                'seconds': np.array(seconds),
                                'disturbed': np.array(rollouts.disturbed)})
        return len(self.episodes)


def _read(job: _Job) -> Rollouts:
    with np.load(job.path) as stored:
        samples = Samples(*(stored[name] for name in Samples.__dataclass_fields__))
        outcomes = zip(job.episodes, stored['decided'].tolist(), stored['seconds'].tolist())
        episodes = [Episode(rollout_seed(job.seed, job.number, index),
                            ALL_TASKS[index % len(ALL_TASKS)], decided, seconds)
                    for index, decided, seconds in outcomes]
        return Rollouts(samples, episodes, stored['disturbed'].tolist())


def _join(parts: list[Rollouts]) -> Rollouts:
    return Rollouts(Samples.join([part.samples for part in parts]),
                    [episode for part in parts for episode in part.episodes],
                    [disturbed for part in parts for disturbed in part.disturbed])


def make_worker(checkpoint: Path) -> RolloutWorker:
    """Load a policy and make a world for it."""
    transform = open_checkpoint(str(checkpoint)).image_processor.towers[0]
    return RolloutWorker(make_sampler(transform),
                         load_policy(PolicyConfig(str(checkpoint), device='cpu')))


def _run_all(checkpoint: Path, jobs: list[_Job], workers: int) -> Iterator[int]:
    """Run the shards; yield the number of episodes of each."""
    if not jobs:
        return
    if workers == 1:
        with _one_thread():
            worker = make_worker(checkpoint)
            for job in jobs:
                yield job.run(worker)
        return
    # Spawned, because a forked child would share the parent's threads and its GL context.
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context('spawn'), _begin_worker,
                             (checkpoint,)) as pool:
        yield from pool.map(_run_job, jobs)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread, as a worker process does, for the same numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_worker: RolloutWorker | None = None


def _begin_worker(checkpoint: Path) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = make_worker(checkpoint)


def _run_job(job: _Job) -> int:
    assert _worker is not None
    return job.run(_worker)
