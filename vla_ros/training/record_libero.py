# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The expert's demonstrations of LIBERO as a LeRobot dataset, and their mean as a recording.

A frame is an image, and images are taken every few actions; ``action_chunk`` has the actions of
all steps. The worlds run in processes of their own, which write a file for each episode.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
import json
import os
from pathlib import Path
import subprocess

import numpy as np

from vla_ros.data.lerobot_format import require_pyarrow
from vla_ros.data.lerobot_metadata import DatasetError
from vla_ros.data.lerobot_writer import DatasetLayout
from vla_ros.data.lerobot_writer import EpisodeNumbers
from vla_ros.data.lerobot_writer import LeRobotWriter
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.worlds.libero.environment import libero_python
from vla_ros.worlds.libero.environment import node_environment
from vla_ros.worlds.libero.suites import ACTION_PERIOD
from vla_ros.worlds.libero.suites import check_suite
from vla_ros.worlds.libero.suites import INITIAL_STATES
from vla_ros.worlds.libero.suites import task_count
from vla_ros.worlds.libero.suites import TaskName

#: Actions in a chunk, as OpenVLA-OFT has it for LIBERO.
CHUNK = 8
#: The last initial states of each task are left to the evaluation.
HELD_OUT_STATES = 10
#: Names of the numbers.
STATE_NAMES = ('x', 'y', 'z', 'axis_angle_x', 'axis_angle_y', 'axis_angle_z', 'finger_left',
               'finger_right')
ACTION_NAMES = ('x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper')
_CAMERAS = ('agentview', 'wrist')
# Episodes of a task that one process records: its world takes as long to build as half of one.
_ROUND = 3
_WORKER = 'vla_ros.worlds.libero.demonstrate'


@dataclass(frozen=True)
class Episode:
    """
    One episode of the plan.

    :param index: number in the plan, and seed of its disturbances.
    :param state: initial state.
    """

    index: int
    task: TaskName
    state: int

    def file(self, folder: Path) -> Path:
        """Return where it is kept while others are recorded."""
        return folder / f'{self.index:05d}_{self.task.suite}_{self.task.number}_{self.state}.npz'


def plan_episodes(suites: Sequence[str], count: int) -> list[Episode]:
    """
    Deal episodes out to all tasks of the suites in turn; a task's initial states count up.

    :raises ParameterError: there is no such suite, or there are too few initial states.
    """
    tasks = [TaskName(check_suite(suite), number) for suite in dict.fromkeys(suites)
             for number in range(task_count(suite))]
    most = len(tasks) * (INITIAL_STATES - HELD_OUT_STATES)
    if not 1 <= count <= most:
        raise ParameterError('--episodes', count, f'from 1 to {most}: the last {HELD_OUT_STATES} '
                             f'of the {INITIAL_STATES} initial states of each task are left to '
                             'the evaluation')
    return [Episode(index, tasks[index % len(tasks)], index // len(tasks))
            for index in range(count)]


def record_libero(folder: Path, suites: Sequence[str], episodes: int, every: int, workers: int,
                  report: Callable[[str], None]) -> None:
    """
    Record the expert, then write the dataset and ``mean_trajectory`` beside its folders.

    An interrupted recording goes on: episodes that are there are kept. So with a smaller number of
    episodes the dataset is written of what there is.

    :param every: actions from one image to the next.
    :raises DatasetError: the folder holds something else.
    :raises UnsupportedError: the benchmark or pyarrow is missing.
    :raises VlaError: a process fails.
    """
    require_pyarrow()
    plan = plan_episodes(suites, episodes)
    if not 1 <= every <= CHUNK:
        raise ParameterError('--every', every, f'from 1 to {CHUNK}, the length of a chunk')
    raw = folder / 'raw'
    settings = raw / 'settings.json'
    wanted = {'suites': list(dict.fromkeys(suites)), 'every': every}
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir()) and not (
            settings.is_file() and json.loads(settings.read_text('utf-8')) == wanted)):
        raise DatasetError(folder, 'it must be a new or an empty folder, or hold an interrupted '
                           'recording with the same options')
    command = str(libero_python(os.environ))
    raw.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(wanted), 'utf-8')

    def work(job: list[Episode]) -> None:
        _run_worker(command, job, raw, every)
        done = sum(episode.file(raw).is_file() for episode in plan)
        report(f'{job[0].task}: episodes {done}/{episodes}')
    with ThreadPoolExecutor(workers) as pool:
        # The first error ends the recording; processes that run finish their episodes.
        running = [pool.submit(work, job) for job in _jobs(plan, raw)]
        try:
            for future in running:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)
    write_recording(folder, plan, every)


def _jobs(plan: Sequence[Episode], raw: Path) -> list[list[Episode]]:
    """Group what is missing: a few episodes of a task at a time, so that all tasks advance."""
    jobs: dict[tuple[int, TaskName], list[Episode]] = {}
    for episode in plan:
        if not episode.file(raw).is_file():
            jobs.setdefault((episode.state // _ROUND, episode.task), []).append(episode)
    return [jobs[key] for key in sorted(jobs, key=lambda key: key[0])]


def _run_worker(python: str, job: Sequence[Episode], raw: Path, every: int) -> None:
    words = json.dumps({'task': str(job[0].task), 'every': every, 'episodes': [
        {'state': episode.state, 'seed': episode.index, 'file': str(episode.file(raw))}
        for episode in job]})
    with (raw / 'workers.log').open('ab') as log:
        status = subprocess.run(
            [python, '-m', _WORKER, words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**node_environment(os.environ), 'OMP_NUM_THREADS': '1', 'LP_NUM_THREADS': '0'},
            check=False).returncode
    if not all(episode.file(raw).is_file() for episode in job):
        raise VlaError(f'recording {job[0].task} ended with status {status}; see '
                       f'{raw / "workers.log"}')


def write_recording(folder: Path, plan: Sequence[Episode], every: int) -> None:
    """
    Write the dataset and ``mean_trajectory`` of the episodes that are there and succeeded.

    :raises VlaError: none did.
    """
    writer = LeRobotWriter(folder, DatasetLayout(
        dict.fromkeys(_CAMERAS, (224, 224)), STATE_NAMES, ACTION_NAMES,
        1.0 / (every * ACTION_PERIOD), 'libero_panda', storage='images', has_interventions=False,
        chunk=CHUNK))
    demonstrations: dict[TaskName, tuple[str, list[np.ndarray]]] = {}
    for episode in plan:
        if not episode.file(folder / 'raw').is_file():
            continue
        with np.load(episode.file(folder / 'raw'), allow_pickle=False) as found:
            if not found['success']:
                continue
            instruction, actions = str(found['instruction']), found['actions']
            for camera in _CAMERAS:
                for image in found[camera]:
                    writer.add_image(camera, image)
            chunks = cut_chunks(actions, every)
            writer.save_episode(EpisodeNumbers([instruction] * len(chunks), found['states'],
                                               chunks[:, 0], None, chunks))
        demonstrations.setdefault(episode.task, (instruction, []))[1].append(actions)
    if not demonstrations:
        raise VlaError(f'{folder}: the expert has succeeded in no episode; record more')
    writer.close()
    for suite in dict.fromkeys(task.suite for task in demonstrations):
        write_means(folder / f'mean_trajectory_{suite}', {
            task: found for task, found in demonstrations.items() if task.suite == suite})


def cut_chunks(actions: np.ndarray, every: int) -> np.ndarray:
    """
    Return the actions from each frame on, float32 (F, CHUNK, 7).

    Behind the end the last action is repeated, as OFT's training does.

    :param actions: float32 (T, 7).
    :param every: actions from one frame to the next.
    """
    starts = np.arange(0, len(actions), every)
    indices = np.minimum(starts[:, None] + np.arange(CHUNK), len(actions) - 1)
    return actions[indices]


def mean_trajectory(demonstrations: Sequence[np.ndarray]) -> np.ndarray:
    """
    Return the mean action of each step, float64 (T, 7); T is the median of the lengths.

    :param demonstrations: float32 (length, 7) each, the gripper 1 open; of a step those count
        that are long enough.
    :returns: in the convention of the benchmark: the gripper, by majority, 1 closed and -1 open.
    """
    steps = round(float(np.median([len(actions) for actions in demonstrations])))
    rows = []
    for step in range(steps):
        present = np.stack([actions[step] for actions in demonstrations if step < len(actions)])
        is_open = present[:, 6].mean() >= 0.5
        rows.append([*present[:, :6].astype(np.float64).mean(0), -1.0 if is_open else 1.0])
    return np.array(rows)


def write_means(folder: Path,
                demonstrations: Mapping[TaskName, tuple[str, Sequence[np.ndarray]]]) -> None:
    """Write mean trajectories as a recording, which ``vla_eval --policy replay`` executes."""
    folder.mkdir(exist_ok=True)
    entries = []
    for task, (instruction, actions) in demonstrations.items():
        name = f'{task.suite}_{task.number}.npy'
        np.save(folder / name, mean_trajectory(actions))
        # A recording is executed once for each entry.
        entries += [{'instruction': instruction, 'task': str(task), 'state': state, 'file': name}
                    for state in range(INITIAL_STATES - HELD_OUT_STATES, INITIAL_STATES)]
    (folder / 'recording.json').write_text(json.dumps(entries, indent=1) + '\n', 'utf-8')
