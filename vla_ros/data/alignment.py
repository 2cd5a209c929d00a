# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Which samples belong to an image of the clock: the rule of the observation contract, carried out.

The node asks while it runs and the converter afterwards. What it takes from a camera is opaque: a
message that is still to be read, or its number in a bag.
"""

from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import threading
from typing import Any
from typing import Generic
from typing import TypeVar

import numpy as np

from vla_ros.data.contract import JOINTS
from vla_ros.data.contract import ObservationContract
from vla_ros.data.contract import VectorInput
from vla_ros.errors import MissingInput

Value = TypeVar('Value')

#: Nanoseconds that a sample is kept beyond its largest age: for an image that comes late.
_MARGIN = 1_000_000_000
#: Samples of one stream that are kept at most.
_MOST = 2048
ACTION, STATE = 'action', 'state'


@dataclass(frozen=True)
class Stamped(Generic[Value]):
    """
    A sample.

    :param stamp: of its header, ns; 0 if it has none.
    :param arrived: when it was received, ns of any clock that all samples share.
    """

    stamp: int
    arrived: int
    value: Value


class SampleBuffer(Generic[Value]):
    """The newest samples of one stream, by which others are aligned; thread-safe."""

    def __init__(self, max_age: float, margin: int = _MARGIN, most: int | None = _MOST) -> None:
        """
        Keep what may still be asked for.

        :param margin: ns beyond the largest age for which a sample is kept.
        :param most: samples that are kept at most.
        """
        self._kept = int(max_age * 1e9) + margin
        self._samples: deque[Stamped[Value]] = deque(maxlen=most)
        self._lock = threading.Lock()

    @property
    def newest(self) -> Stamped[Value] | None:
        """The sample that arrived last."""
        return self._samples[-1] if self._samples else None

    def push(self, sample: Stamped[Value]) -> None:
        """Take a sample in."""
        with self._lock:
            self._samples.append(sample)
            while self._samples[0].arrived < sample.arrived - self._kept:
                self._samples.popleft()

    def pick(self, align: str, stamp: int, arrived: int) -> Stamped[Value] | None:
        """
        Choose the sample for an image of the clock.

        :param align: hold, nearest or next.
        :param stamp: of that image, ns; 0 if it has none.
        :param arrived: when it was received.
        :returns: None if there is none.
        """
        with self._lock:
            samples = list(self._samples)
        if not stamp or not samples or not samples[-1].stamp:
            # Without stamps only the order of arrival is known.
            known = [one for one in samples if one.arrived <= arrived] or samples[-1:]
            return known[-1] if known else None
        if align == 'next':
            return min((one for one in samples if one.stamp >= stamp),
                       key=lambda one: one.stamp, default=None)
        if align == 'nearest':
            samples = [one for one in samples if one.arrived <= arrived] or samples
            return min(samples, key=lambda one: abs(one.stamp - stamp))
        return max((one for one in samples if one.stamp <= stamp),
                   key=lambda one: one.stamp, default=None)


@dataclass(frozen=True)
class Aligned:
    """
    What belongs to one image of the clock.

    :param images: values of the cameras, in the order of the contract.
    :param state: float64 (P,), None where the contract has none.
    :param stamps: of everything that was chosen, ns, by camera and by joint or ``state``.
    """

    images: tuple[Any, ...]
    state: np.ndarray | None
    stamps: Mapping[str, int]


class Aligner:
    """Keeps the samples of all streams of a contract, and puts together what belongs together."""

    def __init__(self, contract: ObservationContract, margin: int = _MARGIN,
                 most: int | None = _MOST) -> None:
        """
        Start with nothing received.

        :param margin: ns for which an image of the clock may wait to be asked about.
        :param most: samples of a stream that are kept at most.
        """
        self.contract = contract
        self._images: dict[str, SampleBuffer[Any]] = {
            camera.name: SampleBuffer(camera.max_age, margin, most)
            for camera in contract.cameras}
        self._vectors: dict[str, dict[str, SampleBuffer[Any]]] = {
            which: {name: SampleBuffer(vector.max_age, margin, most)
                    for name in self._parts(vector, which)}
            for which, vector in ((STATE, contract.state), (ACTION, contract.action))
            if vector is not None}

    def image(self, camera: str, stamp: int, arrived: int, value: Any) -> None:
        """Take an image in, by its camera's name."""
        self._images[camera].push(Stamped(stamp, arrived, value))

    def joints(self, which: str, stamp: int, arrived: int, names: Sequence[str],
               values: Sequence[float]) -> None:
        """Take joint positions in; several messages may bring some joints each."""
        buffers = self._vectors[which]
        for name, value in zip(names, values):
            if name in buffers:
                buffers[name].push(Stamped(stamp, arrived, value))

    def array(self, which: str, stamp: int, arrived: int, values: Sequence[float]) -> None:
        """
        Take a whole vector in.

        :param stamp: of a message that has none, the ROS time at which it came.
        """
        self._vectors[which][which].push(Stamped(stamp, arrived, tuple(values)))

    def newest_image(self, camera: str) -> Stamped[Any] | None:
        """Give the image of a camera that arrived last."""
        return self._images[camera].newest

    def newest_parts(self, which: str) -> dict[str, Stamped[Any] | None]:
        """Give the sample of each joint, or of the array, that arrived last."""
        return {name: buffer.newest for name, buffer in self._vectors[which].items()}

    def align(self, stamp: int, arrived: int, clock_value: Any) -> Aligned:
        """
        Put together what belongs to an image of the clock.

        :param clock_value: that image.
        :raises MissingInput: something is missing, too far away, or no numbers.
        """
        contract, stamps, images = self.contract, {}, []
        for camera in contract.cameras:
            if camera == contract.clock_camera:
                found = Stamped(stamp, arrived, clock_value)
            else:
                what = f'image of the camera {camera.name} ({camera.topic})'
                found = self._check(what, camera.max_age, stamp, self._images[camera.name].pick(
                    camera.align, stamp, arrived))
            images.append(found.value)
            stamps[camera.name] = found.stamp
        self._check_skew(stamps)
        state = None
        if contract.state is not None:
            state = self._vector(STATE, contract.state, stamp, arrived, stamps)
        return Aligned(tuple(images), state, stamps)

    def action(self, stamp: int, arrived: int) -> np.ndarray:
        """
        Give the command that belongs to an image of the clock, float64 (D,).

        :raises MissingInput: there is none, or its numbers are not finite.
        """
        assert self.contract.action is not None
        return self._vector(ACTION, self.contract.action, stamp, arrived, {})

    def _vector(self, which: str, vector: VectorInput, stamp: int, arrived: int,
                stamps: dict[str, int]) -> np.ndarray:
        found: list[float] = []
        for name, buffer in self._vectors[which].items():
            what = (f'position of {name} ({vector.topic})' if vector.type == JOINTS else
                    f'vector ({vector.topic})')
            sample = self._check(what, vector.max_age, stamp,
                                 buffer.pick(vector.align, stamp, arrived))
            found += sample.value if isinstance(sample.value, tuple) else [sample.value]
            stamps[name] = sample.stamp
        values = np.array(found, np.float64)
        count = len(vector.names)
        if len(values) != count or not np.isfinite(values).all():
            name = 'state of the robot' if which == STATE else which
            raise MissingInput(f'the {name} on {vector.topic} is {values.tolist()}, it must be '
                               f'{count} finite numbers')
        return values

    def _check_skew(self, stamps: Mapping[str, int]) -> None:
        known = [stamp for stamp in stamps.values() if stamp]
        if len(known) < 2:
            return
        skew = (max(known) - min(known)) * 1e-9
        if skew > self.contract.max_skew:
            raise MissingInput(f'the images of an observation are {skew:.3f} s apart, max_skew is '
                               f'{self.contract.max_skew:g} s')

    @staticmethod
    def _check(what: str, max_age: float, stamp: int, found: Stamped[Any] | None
               ) -> Stamped[Any]:
        if found is None:
            raise MissingInput(f'no {what}')
        if stamp and found.stamp:
            distance = abs(found.stamp - stamp) * 1e-9
            if distance > max_age:
                raise MissingInput(f'the {what} is {distance:.3f} s away from the image, max_age '
                                   f'is {max_age:g} s')
        return found

    @staticmethod
    def _parts(vector: VectorInput, which: str) -> tuple[str, ...]:
        return vector.names if vector.type == JOINTS else (which,)
