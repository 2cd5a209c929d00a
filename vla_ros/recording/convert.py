# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From bags to a LeRobot dataset: all of it, or nothing."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import re
import shutil

import numpy as np

from vla_ros.data.contract import ObservationContract
from vla_ros.data.lerobot_writer import DatasetLayout
from vla_ros.data.lerobot_writer import EpisodeNumbers
from vla_ros.data.lerobot_writer import LeRobotWriter
from vla_ros.errors import VlaError
from vla_ros.recording.bag_files import BagError
from vla_ros.recording.bag_reader import Bag
from vla_ros.recording.episode_plan import contract_of
from vla_ros.recording.episode_plan import EpisodePlan
from vla_ros.recording.episode_plan import plan_episode
from vla_ros.recording.images import frame_images


class ConversionError(VlaError):
    """Bags that make no dataset."""


@dataclass(frozen=True)
class ConversionPlan:
    """
    What is converted, and how.

    :param contract: instead of those of the bags.
    :param instruction: of episodes that have none.
    :param storage: one of :data:`vla_ros.data.lerobot_writer.STORAGES`.
    :param outcomes: of the episodes that are taken; empty for all.
    """

    contract: ObservationContract | None = None
    instruction: str = ''
    storage: str = 'h264'
    outcomes: tuple[str, ...] = ()


def convert(paths: Sequence[Path], out: Path, plan: ConversionPlan,
            report: Callable[[str], None]) -> int:
    """
    Write a dataset.

    :param paths: of the bags, an episode each.
    :param out: a folder that does not exist yet, or is empty.
    :param report: called with a line about each bag.
    :returns: episodes left out, because of what is wrong with them.
    :raises ConversionError: there is nothing to write, or it would be written over something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConversionError(f'{out}: it must be a new or an empty folder, so that nothing in it '
                              'is overwritten')
    part = out.with_name(f'.{out.name}.part')
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        refused = _Converter(part, plan, report).run(paths)
        if out.exists():
            out.rmdir()
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return refused


class _Converter:
    """Writes one dataset."""

    def __init__(self, folder: Path, plan: ConversionPlan, report: Callable[[str], None]) -> None:
        self._folder = folder
        self._options = plan
        self._report = report
        self._writer: LeRobotWriter | None = None
        self._contract: ObservationContract | None = None
        self._episodes: list[dict[str, str]] = []

    def run(self, paths: Sequence[Path]) -> int:
        refused = 0
        for path in paths:
            try:
                self._add(path)
            except BagError as error:
                self._report(f'left out: {error}')
                refused += 1
        if self._writer is None or self._contract is None:
            raise ConversionError('no episode is left to be converted')
        self._writer.close()
        meta = self._folder / 'meta'
        (meta / 'vla_ros_contract.yaml').write_text(self._contract.to_yaml(), encoding='utf-8')
        (meta / 'vla_ros_episodes.json').write_text(
            json.dumps(self._episodes, indent=1) + '\n', encoding='utf-8')
        return refused

    def _add(self, path: Path) -> None:
        bag = Bag(path)
        outcome = bag.metadata.get('outcome', '')
        if self._options.outcomes and outcome not in self._options.outcomes:
            self._report(f'passed over: {bag.name} ({outcome or "no outcome"})')
            return
        contract = contract_of(bag, self._options.contract)
        if self._contract is not None and contract != self._contract:
            raise BagError(path, 'its contract is not that of the bags before')
        plan = plan_episode(bag, contract)
        tasks = check_plan(bag, plan, self._options.instruction)
        self._write(bag, plan, tasks)
        self._contract = contract
        self._episodes.append({'bag': bag.name, **{
            key: value for key, value in bag.metadata.items() if key != 'contract'}})
        self._report(f'{bag.name}: {len(plan.frames)} frames; {len(plan.edges)} incomplete ones '
                     'at its ends are left out')

    def _write(self, bag: Bag, plan: EpisodePlan, tasks: list[str]) -> None:
        contract, frames = plan.contract, plan.frames
        images = frame_images(bag, contract, [frame.images for frame in frames])
        first: dict[str, np.ndarray] = {}
        kept: list[tuple[str, np.ndarray]] = []
        if self._writer is None:
            # The sizes are known when every camera has shown something.
            for camera, rgb in images:
                first.setdefault(camera, rgb)
                kept.append((camera, rgb.copy()))
                if len(first) == len(contract.cameras):
                    break
            self._writer = LeRobotWriter(self._folder, DatasetLayout(
                {camera.name: (first[camera.name].shape[0], first[camera.name].shape[1])
                 for camera in contract.cameras},
                contract.state.names if contract.state is not None else (),
                contract.action.names if contract.action is not None else (), contract.fps,
                contract.robot_type, self._options.storage))
        for camera, rgb in kept:
            self._writer.add_image(camera, rgb)
        for camera, rgb in images:
            self._writer.add_image(camera, rgb)
        states = None if contract.state is None else np.array(
            [frame.state for frame in frames], np.float32)
        self._writer.save_episode(EpisodeNumbers(
            tasks, states, np.array([frame.action for frame in frames], np.float32),
            np.array([frame.intervention for frame in frames])))


def check_plan(bag: Bag, plan: EpisodePlan, instruction: str) -> list[str]:
    """
    Return the instruction of each frame, of an episode that can be converted.

    :param instruction: of frames that have none.
    :raises BagError: it cannot: no frames, no action, a gap, or no instruction.
    """
    if plan.contract.action is None:
        raise BagError(bag.path, 'its contract names no action, which a dataset needs')
    if not plan.frames:
        why = f': {_usual([reason for _, reason in plan.edges])}' if plan.edges else ''
        raise BagError(bag.path, f'it has no complete frame{why}')
    if plan.holes:
        stamp, why = plan.holes[0]
        raise BagError(bag.path, f'{len(plan.holes)} of its frames are incomplete, the first one '
                                 f'{(stamp - plan.frames[0].stamp) * 1e-9:.2f} s after its '
                                 f'beginning: {why}')
    fallback = instruction or bag.metadata.get('instruction', '')
    tasks = [frame.task or fallback for frame in plan.frames]
    if not all(tasks):
        raise BagError(bag.path, f'{tasks.count("")} of its frames have no instruction; '
                                 '--instruction gives one')
    return tasks


def _usual(reasons: Sequence[str]) -> str:
    """Return one of the most frequent problems, compared without their numbers."""
    kinds = [re.sub(r'[0-9.]+', '', reason) for reason in reasons]
    return reasons[kinds.index(max(kinds, key=kinds.count))]
