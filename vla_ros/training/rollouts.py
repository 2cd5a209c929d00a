# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
What a trained model gets itself into: its own episodes, each situation labelled by the expert.

S. Ross et al., "A reduction of imitation learning and structured prediction to no-regret online
learning" (2011). The episodes are played here, without ROS, at the control period and with the
delay that the node has.
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
from vla_ros.policy import load_policy
from vla_ros.policy import Observation
from vla_ros.policy import Policy
from vla_ros.policy import PolicyConfig
from vla_ros.sim.robot import UnreachableError
from vla_ros.sim.scene import draw_scene
from vla_ros.sim.score import Episode
from vla_ros.sim.tasks import ALL_TASKS
from vla_ros.sim.tasks import Referee
from vla_ros.sim.tasks import Situation
from vla_ros.sim.world import World
from vla_ros.training.disturbance import Disturbance
from vla_ros.training.samples import make_sampler
from vla_ros.training.samples import Sampler
from vla_ros.training.samples import Samples
from vla_ros.training.seeds import rollout_seed
from vla_ros.training.shards import save_arrays

# Each shard asks for every task once.
_SHARD = len(ALL_TASKS)
_SECONDS = 12.0
_PERIOD = 0.1
_PERIODS = (0.08, 0.16)
# A situation is a new one when something has moved so far, m; where nothing does for so long, s,
# nothing will.
_MOVED, _STILL = 0.006, 2.0


@dataclass(frozen=True)
class Rollouts:
    """
    The episodes of a round, one after the other.

    :param samples: the situations of all of them.
    :param episodes: how each went, up to its first decision.
    :param disturbed: whether the arm was pushed aside in it.
    """

    samples: Samples
    episodes: list[Episode]
    disturbed: list[bool]


class Player:
    """Plays episodes with a model in a world of its own."""

    def __init__(self, sampler: Sampler, policy: Policy) -> None:
        self._sampler = sampler
        self._world: World = sampler.world
        self._policy = policy

    def play(self, seed: int, number: int, index: int) -> Rollouts:
        """
        Play one episode, a function of the numbers and the model.

        :param number: of the round.
        :param index: of the episode in it; every other dozen is disturbed.
        """
        rng = np.random.default_rng([13, seed, number, index])
        first, disturbed = index % len(ALL_TASKS), bool(index // len(ALL_TASKS) % 2)
        scene = draw_scene(rollout_seed(seed, number, index), (ALL_TASKS[first].color,))
        self._world.reset(scene)
        self._policy.reset()
        period = float(rng.uniform(*_PERIODS)) if disturbed else _PERIOD
        disturb = Disturbance(rng).apply if disturbed else lambda action: action
        seen: list[Samples] = []
        referee = self._pursue(first, period, disturb, seen)
        episode = Episode(rollout_seed(seed, number, index), referee.task,
                          referee.decided or '', self._world.time)
        # An arm that has just finished is told the next thing as it stands.
        possible = [i for i, task in enumerate(ALL_TASKS) if task.color in scene.blocks]
        self._pursue(int(rng.choice(possible)), period, disturb, seen)
        return Rollouts(Samples.join(seen), [episode], [disturbed])

    def _pursue(self, index: int, period: float, disturb: Callable[[np.ndarray], np.ndarray],
                seen: list[Samples]) -> Referee:
        """Pursue a task until it is decided, nothing moves, or the time is up."""
        world, task = self._world, ALL_TASKS[index]
        referee = Referee(task, world.situation())
        noted, since = np.zeros(0), world.time
        while referee.decided is None and world.time < _SECONDS and world.time - since < _STILL:
            now = world.situation()
            if min(block[2] for block in now.blocks.values()) < 0:  # it has left the table
                break
            picture, places = world.render(), _places(now)
            # What looks the same teaches nothing new.
            if noted.shape != places.shape or np.abs(places - noted).max() > _MOVED:
                try:
                    seen.append(self._sampler.look(index, picture))
                except UnreachableError:
                    break
                noted, since = places, world.time
            action = self._answer(picture, task.instruction)
            # The answer to a picture arrives a period later.
            world.step(period)
            if action is not None:
                world.command(disturb(action))
            referee.observe(world.situation())
        return referee

    def _answer(self, picture: np.ndarray, instruction: str) -> np.ndarray | None:
        try:
            return self._policy.infer(Observation((picture,), instruction)).actions[0]
        except InvalidAction:
            return None


def _places(now: Situation) -> np.ndarray:
    """Where the tool, the finger and the blocks are, float64 (N, 3), m."""
    return np.array([now.tool, [now.gripper] * 3, *now.blocks.values()])


def roll_out(checkpoint: Path, folder: Path, seed: int, number: int, episodes: int,
             workers: int, report: Callable[[int], None]) -> Rollouts:
    """
    Play the episodes of a round, from files where they were played before.

    :param checkpoint: folder of the model that plays.
    :param folder: keeps the episodes.
    :param workers: processes that play at the same time.
    :param report: told how many episodes there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [_Job(folder / f'part_{start // _SHARD:03d}.npz', seed, number,
                 range(start, min(start + _SHARD, episodes)))
            for start in range(0, episodes, _SHARD)]
    missing = [job for job in jobs if not job.path.is_file()]
    done = sum(len(job.episodes) for job in jobs if job not in missing)
    for count in _play_all(checkpoint, missing, workers):
        done += count
        report(done)
    return _join([_read(job) for job in jobs])


@dataclass(frozen=True)
class _Job:
    """A shard to be played."""

    path: Path
    seed: int
    number: int
    episodes: range

    def run(self, player: Player) -> int:
        played = _join([player.play(self.seed, self.number, index) for index in self.episodes])
        decided = [episode.decided for episode in played.episodes]
        seconds = [episode.seconds for episode in played.episodes]
        save_arrays(self.path, {**vars(played.samples), 'decided': np.array(decided, 'U10'),
                                'seconds': np.array(seconds),
                                'disturbed': np.array(played.disturbed)})
        return len(self.episodes)


def _read(job: _Job) -> Rollouts:
    with np.load(job.path) as stored:
        samples = Samples(*(stored[name] for name in Samples.__dataclass_fields__))
        told = zip(job.episodes, stored['decided'].tolist(), stored['seconds'].tolist())
        episodes = [Episode(rollout_seed(job.seed, job.number, index),
                            ALL_TASKS[index % len(ALL_TASKS)], decided, seconds)
                    for index, decided, seconds in told]
        return Rollouts(samples, episodes, stored['disturbed'].tolist())


def _join(parts: list[Rollouts]) -> Rollouts:
    return Rollouts(Samples.join([part.samples for part in parts]),
                    [episode for part in parts for episode in part.episodes],
                    [disturbed for part in parts for disturbed in part.disturbed])


def make_player(checkpoint: Path) -> Player:
    """Load a model and make a world for it."""
    transform = open_checkpoint(str(checkpoint)).image_processor.towers[0]
    return Player(make_sampler(transform),
                  load_policy(PolicyConfig(str(checkpoint), device='cpu')))


def _play_all(checkpoint: Path, jobs: list[_Job], workers: int) -> Iterator[int]:
    """Play the shards; yield how many episodes each had."""
    if not jobs:
        return
    if workers == 1:
        with _one_thread():
            player = make_player(checkpoint)
            for job in jobs:
                yield job.run(player)
        return
    # Spawned: a forked child would share the parent's threads and its GL context.
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context('spawn'), _begin_worker,
                             (checkpoint,)) as pool:
        yield from pool.map(_run_job, jobs)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute as a worker does, so that the numbers are the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_player: Player | None = None


def _begin_worker(checkpoint: Path) -> None:
    global _player
    torch.set_num_threads(1)
    _player = make_player(checkpoint)


def _run_job(job: _Job) -> int:
    assert _player is not None
    return job.run(_player)
