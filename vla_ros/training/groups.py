# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Groups of episodes of the same scene and sentence, and the processes that run them.

Only a group with successes and failures teaches something. So a new scene is screened by one
episode without sampling; where it succeeds, no group is run.
"""

from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import torch

from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.training.actor import Actor
from vla_ros.training.trials import ParallelWorlds
from vla_ros.training.trials import Trajectory
from vla_ros.training.trials import Trial
from vla_ros.worlds.outcomes import Episode

# Stands for the number of a member in the episode without sampling.
_SCREENING = 2**31


@dataclass(frozen=True)
class GroupSettings:
    """
    How groups are run.

    :param size: members of a group.
    :param states: most actions of an episode that are trained on.
    """

    size: int
    states: int


@dataclass(frozen=True)
class Scenario:
    """
    What may become a group.

    :param trial: its first member, whose number is a multiple of the size.
    :param is_screened: whether the group is run only if an episode without sampling fails.
    """

    trial: Trial
    is_screened: bool = False


@dataclass(frozen=True)
class Group:
    """
    A scenario that was run.

    :param trial: the first member.
    :param screened: the episode without sampling, if there was one.
    :param episodes: outcomes of the members; none if the screening succeeded.
    :param trajectories: of each member, if they teach something, else none.
    """

    trial: Trial
    screened: Episode | None
    episodes: list[Episode]
    trajectories: list[Trajectory]

    @property
    def rewards(self) -> np.ndarray:
        """1 for each success, 0 for each failure, float64 (G,)."""
        return np.array([float(episode.succeeded) for episode in self.episodes])


def run_groups(worlds: ParallelWorlds, scenarios: Sequence[Scenario],
               settings: GroupSettings) -> list[Group]:
    """Run all scenarios at the same time."""
    first = {(one.trial.scene, one.trial.task): one.trial for one in scenarios}
    screened: dict[tuple[int, int], Episode] = {}
    results: dict[tuple[int, int], list[Trajectory]] = defaultdict(list)

    def members(trial: Trial) -> list[Trial]:
        return [replace(trial, member=trial.member + index) for index in range(settings.size)]

    def finish(trajectory: Trajectory) -> list[Trial]:
        key = trajectory.trial.scene, trajectory.trial.task
        if trajectory.trial != replace(first[key], temperature=0.0, member=_SCREENING):
            results[key].append(trajectory.choose(settings.states))
            return []
        screened[key] = trajectory.episode
        return [] if trajectory.episode.succeeded else members(first[key])
    worlds.run([trial for one in scenarios for trial in (
        [replace(one.trial, temperature=0.0, member=_SCREENING)] if one.is_screened else
        members(one.trial))], finish)
    return [_group(trial, screened.get(key), results[key]) for key, trial in first.items()]


def _group(trial: Trial, screened: Episode | None, members: list[Trajectory]) -> Group:
    # In the order of their numbers, however long each took.
    members = sorted(members, key=lambda one: one.trial.member)
    episodes = [one.episode for one in members]
    is_mixed = len({episode.succeeded for episode in episodes}) > 1
    return Group(trial, screened, episodes, members if is_mixed else [])


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

    def run(self, weights: Mapping[str, np.ndarray], scenarios: Sequence[Scenario],
            settings: GroupSettings) -> list[Group]:
        """
        Run scenarios, see :func:`run_groups`; the results are in their order.

        :param weights: of the model, float32, under their official keys.
        """
        if self._local is not None:
            return _run(self._local, weights, scenarios, settings)
        assert self._pool is not None
        shares = [scenarios[first::self._workers] for first in range(self._workers)]
        jobs = [self._pool.submit(_run_job, weights, share, settings)
                for share in shares if share]
        found = [job.result() for job in jobs]
        return list(_interleave(found))

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _interleave(parts: list[list[Group]]) -> Iterator[Group]:
    """Return the results in the order of the scenarios."""
    for index in range(max(map(len, parts), default=0)):
        yield from (part[index] for part in parts if index < len(part))


def _make_worlds(checkpoint: str, worlds: int) -> ParallelWorlds:
    return ParallelWorlds(Actor(open_checkpoint(checkpoint)), worlds)


def _run(worlds: ParallelWorlds, weights: Mapping[str, np.ndarray], scenarios: Sequence[Scenario],
         settings: GroupSettings) -> list[Group]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        worlds.actor.load({key: torch.from_numpy(value) for key, value in weights.items()})
        return run_groups(worlds, scenarios, settings)
    finally:
        torch.set_num_threads(before)


_worker: ParallelWorlds | None = None


def _begin_worker(checkpoint: str, worlds: int) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = _make_worlds(checkpoint, worlds)


def _run_job(weights: Mapping[str, np.ndarray], scenarios: Sequence[Scenario],
             settings: GroupSettings) -> list[Group]:
    assert _worker is not None
    return _run(_worker, weights, scenarios, settings)
