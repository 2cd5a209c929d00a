# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Checks an episode in a bag: every stream, every frame, and the node's own observations."""

from collections.abc import Mapping
from dataclasses import replace
import json
from pathlib import Path
from typing import Any
import zlib

import numpy as np

from vla_ros.data.contract import COMPRESSED
from vla_ros.data.contract import IMAGE
from vla_ros.data.contract import JOINTS
from vla_ros.data.contract import ObservationContract
from vla_ros.recording.bag_files import BagError
from vla_ros.recording.bag_reader import Bag
from vla_ros.recording.bag_reader import Sample
from vla_ros.recording.cdr import pixels_of
from vla_ros.recording.cdr import stamp_of
from vla_ros.recording.convert import check_plan
from vla_ros.recording.episode_plan import contract_of
from vla_ros.recording.episode_plan import EpisodePlan
from vla_ros.recording.episode_plan import plan_episode
from vla_ros.recording.findings import check_numbers
from vla_ros.recording.findings import count_interventions
from vla_ros.recording.findings import dimensions_of
from vla_ros.recording.findings import Limits
from vla_ros.recording.findings import Report
from vla_ros.recording.findings import StreamFacts
from vla_ros.recording.images import frame_images

#: Seconds for which a stream may be silent at the end before it counts as dead.
_DEAD = 1.0
_IMAGES = 6


class _Motion:
    """Where the joints of the contract's state are."""

    def __init__(self, contract: ObservationContract) -> None:
        state = contract.state
        self._topic = state.topic if state is not None and state.type == JOINTS else ''
        self.positions: dict[str, float] = {}

    def add(self, sample: Sample, message: Any) -> None:
        if sample.topic == self._topic:
            self.positions = self.positions | dict(zip(message.name, message.position))

    def since(self, before: Mapping[str, float]) -> float:
        """Return how far a joint has moved, rad or m; infinity where it is unknown."""
        return max((abs(position - before.get(name, position))
                    for name, position in self.positions.items()), default=np.inf)


class _Stream:
    """What is measured of one topic."""

    def __init__(self, topic: str, kind: str, first: int, motion: _Motion,
                 moved: float) -> None:
        self.topic = topic
        self._motion = motion
        self._moved = moved
        self._frozen_at: Mapping[str, float] = {}
        self._kind = kind
        self._stamps: list[int] = []
        self._is_image = kind in (IMAGE, COMPRESSED)
        self._crc = 0
        self._frozen_since = 0
        self.began = first
        self.last_log = first
        self.log_backwards = 0
        self.frozen = 0
        self.longest_frozen = 0.0
        self.bad = 0

    def add(self, sample: Sample) -> None:
        stamp = stamp_of(self._kind, sample.data) or sample.log_time
        self.log_backwards += sample.log_time < self.last_log
        self.last_log = sample.log_time
        if self._is_image:
            crc = zlib.crc32(pixels_of(self._kind, sample.data))
            if self._stamps and crc == self._crc:
                self.frozen += 1
                # Of an arm at rest a camera may show the same image again.
                if self._motion.since(self._frozen_at) > self._moved:
                    self.longest_frozen = max(self.longest_frozen,
                                              (stamp - self._frozen_since) * 1e-9)
            else:
                self._frozen_since, self._frozen_at = stamp, self._motion.positions
            self._crc = crc
        self._stamps.append(stamp)

    def facts(self) -> StreamFacts:
        stamps = np.array(self._stamps, np.int64)
        steps = np.diff(stamps) * 1e-9
        forward = steps[steps > 0]
        rate = 1.0 / float(np.median(forward)) if len(forward) else 0.0
        return StreamFacts(self.topic, len(stamps), rate,
                           float(forward.max()) if len(forward) else 0.0,
                           int((steps == 0).sum()), self.frozen, int((steps < 0).sum()))


def check_bag(path: Path, limits: Limits, contract: ObservationContract | None = None,
              instruction: str = '', has_images: bool = True) -> Report:
    """
    Check an episode.

    :param contract: instead of the bag's own.
    :param instruction: of frames that have none.
    :param has_images: whether the report shows some frames.
    :raises BagError: it is not a bag, or has no contract.
    """
    bag = Bag(path)
    contract = contract_of(bag, contract)
    report = Report(bag.name)
    streams: dict[str, _Stream] = {}
    last: dict[str, int] = {}
    motion = _Motion(contract)

    def add(sample: Sample, message: Any) -> None:
        if sample.topic not in streams:
            streams[sample.topic] = _Stream(sample.topic, sample.type, sample.log_time, motion,
                                            limits.moved)
        motion.add(sample, message)
        streams[sample.topic].add(sample)
        last['log'] = max(last.get('log', 0), sample.log_time)
        if sample.type.endswith('/VlaAction') and not np.isfinite(message.action).all():
            streams[sample.topic].bad += 1

    try:
        plan = plan_episode(bag, contract, add)
    except BagError as error:
        report.error('damaged', str(error))
        return report
    _check_end(bag, report)
    _check_streams(streams, last.get('log', 0), contract, limits, report)
    _check_plan(bag, plan, instruction, limits, report)
    report.facts |= {
        'contract': f'{len(contract.cameras)} cameras, {contract.fps:g} frames a second',
        'frames': str(len(plan.frames)), 'outcome': bag.metadata.get('outcome', ''),
        'instruction': bag.metadata.get('instruction', ''),
        'checkpoint': ' '.join(bag.metadata.get(key, '') for key in ('checkpoint', 'revision')),
        'train/run parity': f'{plan.compared - len(plan.unlike)} of {plan.compared} observations '
                            'of the node are those of the dataset'}
    if has_images and plan.frames:
        _add_images(bag, plan, report)
    return report


def _check_end(bag: Bag, report: Report) -> None:
    if not bag.is_complete:
        report.warn('unfinished', 'the bag was cut short (its recorder was killed?): all whole '
                                  'messages are read; vla_record on its folder completes it')
    ended_by = bag.metadata.get('ended_by', '')
    if ended_by not in ('', 'operator'):
        report.warn('unfinished', f'the episode ended by itself: {ended_by}')
    try:
        counts = json.loads(bag.metadata.get('counts', '{}'))
    except ValueError:
        counts = {}
    for topic, count in counts.items():
        for name, meaning in (('lost', 'were lost on their way to the recorder'),
                              ('dropped', 'were dropped by the recorder')):
            if int(count.get(name, 0)):
                report.warn(name, f'{count[name]} messages on {topic} {meaning}')


def _check_streams(streams: Mapping[str, _Stream], end: int, contract: ObservationContract,
                   limits: Limits, report: Report) -> None:
    needed = {one.topic for one in contract.inputs}
    for one in contract.inputs:
        if one.topic not in streams:
            report.error('missing-stream', f'nothing on {one.topic}, which the contract names')
    for topic, stream in sorted(streams.items()):
        facts = stream.facts()
        report.streams.append(facts)
        if stream.bad:
            report.error('not-finite', f'{stream.bad} actions on {topic} are not finite')
        if stream.log_backwards:
            report.error('clock', f'the clock was set back {stream.log_backwards} times while '
                                  f'{topic} was recorded')
        # A command has the stamp of its image, and in a hold that of the present.
        if facts.backwards and not topic.endswith('/joint_command'):
            report.error('clock', f'{facts.backwards} stamps on {topic} are before the one that '
                                  'came before: the clock was set back, or two publishers stamp')
        if topic not in needed:
            continue
        if facts.duplicates:
            report.warn('duplicates', f'{facts.duplicates} messages on {topic} repeat a stamp')
        silence = (end - stream.last_log) * 1e-9
        if silence > _DEAD:
            report.error('dead-stream', f'{topic} falls silent {silence:.1f} s before the end')
        if facts.rate and facts.count > 3 and facts.longest_gap > max(
                limits.gap / facts.rate, 0.05):
            report.warn('gap', f'{topic} has a gap of {facts.longest_gap:.2f} s; usual are '
                               f'{1 / facts.rate:.3f} s')
        if stream.longest_frozen > limits.frozen:
            report.error('frozen', f'the images on {topic} repeat for up to '
                                   f'{stream.longest_frozen:.2f} s while the arm moves, '
                                   f'{facts.frozen} in all')
    clock = next((one for one in report.streams if one.name == contract.clock_camera.topic), None)
    if clock is not None and clock.rate and clock.rate < 0.95 * contract.fps:
        report.error('rate', f'{clock.name} brings {clock.rate:.1f} images a second, the contract '
                             f'wants {contract.fps:g} frames')


def _check_plan(bag: Bag, plan: EpisodePlan, instruction: str, limits: Limits,
                report: Report) -> None:
    try:
        check_plan(bag, plan, instruction)
    except BagError as error:
        name = ('missing-instruction' if 'instruction' in str(error) else
                'empty' if not plan.frames else 'incomplete')
        report.error(name, str(error))
    if plan.unlike:
        stamp, why = plan.unlike[0]
        report.error('parity', f'{len(plan.unlike)} of {plan.compared} observations of the node '
                               f'are not those of the dataset; at {stamp * 1e-9:.3f} {why}')
    if not plan.frames:
        return
    contract = plan.contract
    stamps = np.array([frame.stamp for frame in plan.frames]) * 1e-9
    drift = np.abs(np.diff(stamps) * contract.fps - 1)
    if len(drift) and drift.max() > 0.5:
        place = int(np.argmax(drift))
        report.error('gap', f'frame {place + 1} comes {stamps[place + 1] - stamps[place]:.3f} s '
                            f'after the one before, {1 / contract.fps:.3f} s are expected')
    if contract.action is not None:
        actions = np.array([frame.action for frame in plan.frames])
        report.dimensions = dimensions_of(contract.action.names, actions)
        check_numbers(report, limits, contract.action.names, actions, contract.fps, 'action')
        report.curves |= {f'action {name}': actions[:, column]
                          for column, name in enumerate(contract.action.names)}
    if contract.state is not None:
        states = np.array([frame.state for frame in plan.frames])
        # A joint may be measured a little beyond a limit that no command passes.
        check_numbers(report, replace(limits, lower={}, upper={}), contract.state.names, states,
                      contract.fps, 'state')
    report.facts['interventions'] = count_interventions(
        np.array([frame.intervention for frame in plan.frames]), [len(plan.frames)])


def _add_images(bag: Bag, plan: EpisodePlan, report: Report) -> None:
    chosen = np.unique(np.linspace(0, len(plan.frames) - 1, _IMAGES).astype(int)).tolist()
    counts = {camera.name: 0 for camera in plan.contract.cameras}
    try:
        for camera, rgb in frame_images(bag, plan.contract,
                                        [plan.frames[index].images for index in chosen]):
            seconds = (plan.frames[chosen[counts[camera]]].stamp - plan.frames[0].stamp) * 1e-9
            counts[camera] += 1
            report.images.append((f'{camera}, {seconds:.1f} s', rgb.copy()))
    except BagError as error:
        report.error('damaged', str(error))
