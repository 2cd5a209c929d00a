# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Checks a LeRobot dataset of any origin, an episode at a time."""

from pathlib import Path

import numpy as np

from vla_ros.data.lerobot_dataset import LeRobotDataset
from vla_ros.data.lerobot_metadata import DatasetError
from vla_ros.recording.findings import check_numbers
from vla_ros.recording.findings import count_interventions
from vla_ros.recording.findings import dimensions_of
from vla_ros.recording.findings import Limits
from vla_ros.recording.findings import Report
from vla_ros.recording.findings import StreamFacts

#: Frames of an episode whose images are compared, and images in the page.
_LOOKED_AT, _SHOWN = 24, 8


def check_dataset(folder: Path, limits: Limits, has_images: bool = True) -> Report:
    """
    Check a dataset.

    :param has_images: whether images are decoded.
    """
    report = Report(folder.resolve().name)
    try:
        dataset = LeRobotDataset(folder)
    except DatasetError as error:
        report.error('not-finite' if 'is not finite' in str(error) else 'format', str(error))
        return report
    names = dataset.action_names
    report.facts = {'version': dataset.metadata.version, 'frames': str(len(dataset)),
                    'episodes': str(dataset.episode_count), 'fps': f'{dataset.metadata.fps:g}',
                    'cameras': ', '.join(dataset.cameras),
                    'tasks': '; '.join(list(dataset.metadata.tasks.values())[:8]),
                    'interventions': count_interventions(
                        dataset.interventions, [len(rows) for rows in dataset.episode_rows])}
    actions: np.ndarray = dataset.actions.astype(np.float64)
    if np.isfinite(actions).all():
        report.dimensions = dimensions_of(names, actions)
    _check_states(dataset, report)
    _check_statistics(dataset, actions, report)
    _check_contract(folder, report)
    for number, rows in enumerate(dataset.episode_rows):
        where = f'episode {number}: '
        check_numbers(report, limits, names, actions[rows.start:rows.stop],
                      dataset.metadata.fps, 'action', where)
        if has_images:
            _check_images(dataset, rows, limits, where, report)
    if has_images:
        _show(dataset, report)
    return report


def _check_states(dataset: LeRobotDataset, report: Report) -> None:
    if dataset.states is None:
        return
    bad = np.flatnonzero(~np.isfinite(dataset.states).all(1))
    if len(bad):
        report.error('not-finite', f'the state of frame {bad[0]} is not finite, {len(bad)} frames '
                                   'in all')


def _check_statistics(dataset: LeRobotDataset, actions: np.ndarray, report: Report) -> None:
    """Compare the statistics of the actions with the actions."""
    stored = dataset.statistics.get('action', {})
    for name, found in (('min', actions.min(0)), ('max', actions.max(0)),
                        ('mean', actions.mean(0))):
        if name not in stored:
            continue
        values = np.asarray(stored[name], np.float64).ravel()
        spread = np.maximum(np.ptp(actions, axis=0), 1e-6)
        if values.shape != found.shape or (np.abs(values - found) > 1e-2 * spread + 1e-5).any():
            report.error('statistics', f'meta/stats.json has the {name} {values.tolist()} of the '
                                       f'action, the frames have {found.round(6).tolist()}')
            return


def _check_contract(folder: Path, report: Report) -> None:
    if not (folder / 'meta/vla_ros_contract.yaml').is_file():
        report.warn('no-contract', 'the dataset has no observation contract: whether '
                                   'a node observes the same cannot be checked')


def _check_images(dataset: LeRobotDataset, rows: range, limits: Limits, where: str,
                  report: Report) -> None:
    """Find repeated images in a run of frames from the middle of an episode."""
    middle = range(max(rows.start, (rows.start + rows.stop - _LOOKED_AT) // 2), rows.stop)
    looked_at = middle[:_LOOKED_AT]
    for camera in dataset.cameras:
        before, run = None, 0
        try:
            for row in looked_at:
                image = dataset.image(row, camera)
                run = run + 1 if before is not None and np.array_equal(before, image) else 0
                before = image
                if run >= max(3, dataset.metadata.fps / 2) and _has_moved(
                        dataset.states, row - run, row, limits.moved):
                    report.error('frozen', f'{where}the images of {camera} repeat, up to frame '
                                           f'{row - rows.start}')
                    break
        except DatasetError as error:
            report.error('damaged', f'{where}{error}')
            return
        if before is not None and before.max() < 8:
            report.warn('dark', f'{where}the images of {camera} are black')


def _has_moved(states: np.ndarray | None, first: int, last: int, moved: float) -> bool:
    """Return whether the arm moves between two frames; where nothing tells, that it does."""
    return states is None or bool(np.abs(states[last] - states[first]).max() > moved)


def _show(dataset: LeRobotDataset, report: Report) -> None:
    chosen = np.unique(np.linspace(0, len(dataset) - 1, _SHOWN).astype(int)).tolist()
    for camera in dataset.cameras:
        for row in chosen:
            try:
                report.images.append((f'{camera}, frame {row}', dataset.image(row, camera)))
            except DatasetError:
                return  # it was found above
        counts = StreamFacts(camera, len(dataset), dataset.metadata.fps,
                             1 / dataset.metadata.fps, 0, 0, 0)
        report.streams.append(counts)
