# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Which messages of a bag make which frame of a dataset, by the bag's observation contract.

One pass over the bag, in which no image is decoded. The same :class:`Aligner` puts a frame
together that puts the node's observations together.
"""

from collections import deque
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np

from vla_ros.data.alignment import ACTION
from vla_ros.data.alignment import Aligner
from vla_ros.data.alignment import STATE
from vla_ros.data.contract import CameraInput
from vla_ros.data.contract import JOINTS
from vla_ros.data.contract import ObservationContract
from vla_ros.data.contract import read_contract
from vla_ros.errors import MissingInput
from vla_ros.recording.bag_files import BagError
from vla_ros.recording.bag_reader import Bag
from vla_ros.recording.bag_reader import Sample
from vla_ros.recording.cdr import stamp_of

TAKEOVER = 'TAKEOVER'
#: Nanoseconds for which a message may come after an image and still belong to it.
_LATENESS = 300_000_000
#: Nanoseconds that an image may come before its time and still make a frame.
_EARLY = 2_000_000


@dataclass(frozen=True)
class PlannedFrame:
    """
    One frame.

    :param stamp: of the clock's image, ns.
    :param images: number of the image in its topic, by camera in the order of the contract.
    :param state: float64 (P,), None where the contract has none.
    :param action: float64 (D,).
    :param task: the instruction in force.
    :param intervention: whether a person moved the arm.
    """

    stamp: int
    images: tuple[int, ...]
    state: np.ndarray | None
    action: np.ndarray
    task: str
    intervention: bool


@dataclass
class EpisodePlan:
    """
    What a bag gives.

    :param frames: without the incomplete ones before the first and after the last.
    :param holes: incomplete frames between them: stamp and reason.
    :param edges: incomplete frames before and after them, likewise.
    :param compared: results of the policy whose observation is known.
    :param unlike: of these, those that were observed otherwise than here: stamp and reason.
    """

    contract: ObservationContract
    frames: list[PlannedFrame] = field(default_factory=list)
    holes: list[tuple[int, str]] = field(default_factory=list)
    edges: list[tuple[int, str]] = field(default_factory=list)
    compared: int = 0
    unlike: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Moment:
    """An image of the clock that waits for what comes after it."""

    stamp: int
    arrived: int
    number: int
    task: str
    is_frame: bool


def contract_of(bag: Bag, given: ObservationContract | None = None) -> ObservationContract:
    """
    Return the contract of a bag, or the one that is given instead.

    :raises BagError: it has none.
    """
    if given is not None:
        return given.with_topics(lambda topic: topic if topic.startswith('/') else f'/{topic}')
    if not bag.metadata.get('contract'):
        raise BagError(bag.path, 'it has no observation contract; give one by '
                                 '--contract')
    return read_contract(bag.metadata['contract'], f'of the bag {bag.name}')


def plan_episode(bag: Bag, contract: ObservationContract,
                 inspect: Callable[[Sample, Any], None] = lambda sample, message: None
                 ) -> EpisodePlan:
    """
    Find the frames of an episode.

    :param inspect: called with every message, and its content where it was decoded, else None.
    :raises BagError: the bag cannot be read.
    """
    return _Planner(bag, contract, inspect).run()


class _Planner:
    """Reads one bag."""

    def __init__(self, bag: Bag, contract: ObservationContract,
                 inspect: Callable[[Sample, Any], None]) -> None:
        self._bag = bag
        self._inspect = inspect
        self._plan = EpisodePlan(contract)
        action = contract.action
        self._wait = max(_LATENESS, int(1e9 * action.max_age) if action is not None else 0)
        self._aligner = Aligner(contract, self._wait + 1_000_000_000, None)
        self._cameras = {camera.topic: camera for camera in contract.cameras}
        self._counts = dict.fromkeys(self._cameras, 0)
        self._waiting: deque[_Moment] = deque()
        self._found: list[tuple[int, PlannedFrame | str]] = []
        self._due = 0
        self._period = 1e9 / contract.fps
        self._task = ''
        #: Stamp of each change of the control mode, ns, and whether a takeover began.
        self._takeovers: list[tuple[int, bool]] = []
        self._observed: dict[int, Mapping[str, int]] = {}
        self._aligned: dict[int, tuple[Mapping[str, int], str]] = {}

    def run(self) -> EpisodePlan:
        for sample in self._bag.samples():
            if sample.topic in self._cameras:
                self._image(self._cameras[sample.topic], sample)
                self._inspect(sample, None)
            else:
                message = self._bag.decode(sample)
                self._message(sample, message)
                self._inspect(sample, message)
            while self._waiting and self._waiting[0].arrived + self._wait < sample.log_time:
                self._settle(self._waiting.popleft())
        while self._waiting:
            self._settle(self._waiting.popleft())
        self._leave_out_incomplete()
        return self._plan

    def _image(self, camera: CameraInput, sample: Sample) -> None:
        stamp = stamp_of(sample.type, sample.data) or sample.log_time
        number = self._counts[camera.topic]
        self._counts[camera.topic] += 1
        self._aligner.image(camera.name, stamp, sample.log_time, number)
        if camera != self._plan.contract.clock_camera:
            return
        is_frame = stamp >= self._due - _EARLY
        if is_frame:
            # A camera that was late does not shift the frames that follow.
            late = stamp - self._due if self._due else 0
            self._due = round((self._due if self._due and late < self._period else stamp)
                              + self._period)
        self._waiting.append(_Moment(stamp, sample.log_time, number, self._task, is_frame))

    def _message(self, sample: Sample, message: Any) -> None:
        contract = self._plan.contract
        for which, vector in ((STATE, contract.state), (ACTION, contract.action)):
            if vector is not None and vector.topic == sample.topic:
                if vector.type == JOINTS:
                    stamp = stamp_of(sample.type, sample.data) or sample.log_time
                    self._aligner.joints(which, stamp, sample.log_time, message.name,
                                         message.position)
                else:
                    self._aligner.array(which, sample.log_time, sample.log_time, message.data)
        name = sample.type.rpartition('/')[2]
        if name == 'VlaStatus':
            self._task = message.instruction or self._task
            # Bags of before have no control mode: there was no takeover.
            self._note_control(stamp_of(sample.type, sample.data) or sample.log_time,
                               getattr(message, 'control_mode', '') == TAKEOVER)
        elif name == 'VlaAction':
            self._result(message)
        elif sample.topic.endswith('/instruction') and name == 'String':
            self._task = message.data.strip()

    def _note_control(self, stamp: int, is_takeover: bool) -> None:
        if is_takeover != (bool(self._takeovers) and self._takeovers[-1][1]):
            self._takeovers.append((stamp, is_takeover))

    def _is_intervention(self, stamp: int) -> bool:
        """Return whether a person moved the arm at a time, ns; by stamps, as messages overtake."""
        before = [is_takeover for since, is_takeover in self._takeovers if since <= stamp]
        return bool(before) and before[-1]

    def _result(self, message: Any) -> None:
        """Record what the node observed for a result."""
        names = getattr(message, 'input_names', None)
        stamp = _nanoseconds(message.header.stamp)
        if not names or not stamp:
            return
        observed = dict(zip(names, map(_nanoseconds, message.input_stamps)))
        if stamp in self._aligned:
            self._compare(stamp, observed, *self._aligned.pop(stamp))
        else:
            self._observed[stamp] = observed

    def _settle(self, moment: _Moment) -> None:
        """Complete the frame of an image, once all of it has come."""
        reason, stamps, found = '', {}, None
        try:
            aligned = self._aligner.align(moment.stamp, moment.arrived, moment.number)
            stamps = dict(aligned.stamps)
            action = (np.zeros(0) if self._plan.contract.action is None else
                      self._aligner.action(moment.stamp, moment.arrived))
            found = PlannedFrame(moment.stamp, aligned.images, aligned.state, action, moment.task,
                                 self._is_intervention(moment.stamp))
        except MissingInput as error:
            reason = str(error)
        if moment.is_frame:
            self._found.append((moment.stamp, reason if found is None else found))
        if moment.stamp in self._observed:
            self._compare(moment.stamp, self._observed.pop(moment.stamp), stamps, reason)
        else:
            self._aligned[moment.stamp] = stamps, reason
            if len(self._aligned) > 1000:
                del self._aligned[next(iter(self._aligned))]

    def _compare(self, stamp: int, observed: Mapping[str, int], stamps: Mapping[str, int],
                 reason: str) -> None:
        if not stamps and not any(isinstance(found, PlannedFrame) for _, found in self._found):
            return  # what the node observed had come before the recording began
        self._plan.compared += 1
        if not stamps:
            self._plan.unlike.append((stamp, f'the node saw it, here {reason}'))
            return
        names = {camera.name: 'main' if not number else f'extra_{number - 1}'
                 for number, camera in enumerate(self._plan.contract.cameras)}
        for name, here in stamps.items():
            live = observed.get(name, observed.get(names.get(name, ''), None))
            if live is not None and live != here:
                self._plan.unlike.append((stamp, f'{name}: the node took the one stamped '
                                          f'{live * 1e-9:.3f}, here it is {here * 1e-9:.3f}'))
                return

    def _leave_out_incomplete(self) -> None:
        """Divide the frames into those of the dataset, holes, and edges."""
        whole = [index for index, (_, found) in enumerate(self._found)
                 if isinstance(found, PlannedFrame)]
        first, last = (whole[0], whole[-1]) if whole else (len(self._found), -1)
        for index, (stamp, found) in enumerate(self._found):
            if isinstance(found, PlannedFrame):
                self._plan.frames.append(found)
            elif first < index < last:
                self._plan.holes.append((stamp, found))
            else:
                self._plan.edges.append((stamp, found))


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
