# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Groups of episodes that are compared, and the processes that run them.

A scene is first run with the best tokens. Where that fails, a group begins where it got stuck: its
members repeat the episode up to there, sample a few actions, and go on with the best tokens. So
what is compared are the few actions that decide, and everything else is the same. The first member
does not sample: it fails again, and a group in which all others succeed teaches something, too.
"""

from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch

from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.training.actor import Actor
from vla_ros.training.trials import ParallelWorlds
from vla_ros.training.trials import Trajectory
from vla_ros.training.trials import Trial

# The reward of a success is this to the power of the seconds that it took.
_DISCOUNT = 0.8


@dataclass(frozen=True)
class GroupSettings:
    """
    How groups are run.

    :param size: members of a group that sample.
    :param sampled: actions that each samples.
    :param temperature: of the sampling.
    :param seconds: after the first sampled action, in which it has to succeed.
    """

    size: int
    sampled: int
    temperature: float
    seconds: float


@dataclass(frozen=True)
class Group:
    """
    A scene that was run.

    :param greedy: the episode with the best tokens.
    :param members: those that branch off from it; none if it succeeded.
    """

    greedy: Trajectory
    members: list[Trajectory]

    @property
    def rewards(self) -> np.ndarray:
        """Of each member, float64 (G,): 0 for a failure, up to 1 for an early success."""
        return np.array([
            _DISCOUNT ** (one.episode.seconds - one.began) if one.episode.succeeded else 0.0
            for one in self.members])

    @property
    def successes(self) -> int:
        """How many members succeeded."""
        return sum(one.episode.succeeded for one in self.members)

    @property
    def is_mixed(self) -> bool:
        """Whether there are successes and failures: only that teaches what decides."""
        return 0 < self.successes < len(self.members)


def run_groups(worlds: ParallelWorlds, trials: Sequence[Trial],
               settings: GroupSettings | None) -> list[Group]:
    """
    Run trials at the same time, each with the best tokens, and groups where they fail.

    :param settings: None runs no groups.
    """
    greedy: dict[tuple[int, int], Trajectory] = {}
    members: dict[tuple[int, int], list[Trajectory]] = defaultdict(list)

    def finish(trajectory: Trajectory) -> list[Trial]:
        key = trajectory.trial.scene, trajectory.trial.task
        if key in greedy:
            members[key].append(trajectory)
            return []
        greedy[key] = trajectory
        if settings is None or trajectory.episode.succeeded:
            return []
        return branch(trajectory, settings)
    worlds.run(trials, finish)
    # In the order of their numbers, however long each took.
    return [Group(greedy[key], sorted(members[key], key=lambda one: one.trial.member))
            for key in ((trial.scene, trial.task) for trial in trials)]


def branch(failure: Trajectory, settings: GroupSettings) -> list[Trial]:
    """
    Return a group that branches off from an episode where it began to rest.

    An episode that moved to its end is left at a random action.
    """
    trial, index = failure.trial, failure.stalled
    if index == len(failure.actions):
        rng = np.random.default_rng([31, trial.scene, trial.task, trial.member])
        index = int(rng.integers(len(failure.actions)))
    replayed = tuple(map(tuple, failure.actions[:index].tolist()))
    return [Trial(trial.scene, trial.task, trial.member + number, replayed, settings.sampled,
                  number > 0, settings.temperature, settings.seconds, trial.patience)
            for number in range(settings.size + 1)]


class RolloutPool:
    """Processes, each with worlds and an actor of its own; one process is this one."""

    def __init__(self, checkpoint: str, workers: int, worlds: int) -> None:
        """
        Start the processes.

        :param checkpoint: folder of the model.
        :param worlds: of each process.
        """
        self._workers = workers
        self._local: ParallelWorlds | None = None
        self._pool: ProcessPoolExecutor | None = None
        if workers == 1:
            self._local = _make_worlds(checkpoint, worlds)
        else:
            # Spawned, because a forked child would share the parent's threads and GL context.
            self._pool = ProcessPoolExecutor(workers, get_context('spawn'), _begin_worker,
                                             (checkpoint, worlds))

    def run(self, weights: Mapping[str, np.ndarray], trials: Sequence[Trial],
            settings: GroupSettings | None) -> list[Group]:
        """
        Run trials, see :func:`run_groups`; the results are in their order.

        :param weights: of the model, float32, under their official keys.
        """
        if self._local is not None:
            return _run(self._local, weights, trials, settings)
        assert self._pool is not None
        shares = [trials[first::self._workers] for first in range(self._workers)]
        jobs = [self._pool.submit(_run_job, weights, share, settings)
                for share in shares if share]
        found = [job.result() for job in jobs]
        return list(_interleave(found))

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _interleave(parts: list[list[Group]]) -> Iterator[Group]:
    """Return the results in the order of the trials."""
    for index in range(max(map(len, parts), default=0)):
        yield from (part[index] for part in parts if index < len(part))


def _make_worlds(checkpoint: str, worlds: int) -> ParallelWorlds:
    return ParallelWorlds(Actor(open_checkpoint(checkpoint)), worlds)


def _run(worlds: ParallelWorlds, weights: Mapping[str, np.ndarray], trials: Sequence[Trial],
         settings: GroupSettings | None) -> list[Group]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        worlds.actor.load({key: torch.from_numpy(value) for key, value in weights.items()})
        return run_groups(worlds, trials, settings)
    finally:
        torch.set_num_threads(before)


_worker: ParallelWorlds | None = None


def _begin_worker(checkpoint: str, worlds: int) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = _make_worlds(checkpoint, worlds)


def _run_job(weights: Mapping[str, np.ndarray], trials: Sequence[Trial],
             settings: GroupSettings | None) -> list[Group]:
    assert _worker is not None
    return _run(_worker, weights, trials, settings)
