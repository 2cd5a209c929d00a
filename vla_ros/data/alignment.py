# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Aligns the samples of all streams to an image of the clock camera by the observation contract.

The node aligns while it runs, the converter afterwards. A camera's value is opaque: a message that
is still to be decoded, or its number in a bag.
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
#: Nanoseconds by which a sample may be stamped earlier than one that arrived before it.
_DISORDER = 100_000_000
#: Samples of one stream that are kept at most.
_MOST = 2048
ACTION, STATE = 'action', 'state'


@dataclass(frozen=True)
class Stamped(Generic[Value]):
    """
    A sample.

    :param stamp: of its header, ns; 0 if it has none.
    :param arrived: time of reception, ns of any clock that all samples share.
    """

    stamp: int
    arrived: int
    value: Value


class SampleBuffer(Generic[Value]):
    """The newest samples of one stream; thread-safe."""

    def __init__(self, max_age: float, margin: int = _MARGIN, most: int | None = _MOST) -> None:
        """
        Start empty.

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
        """Add a sample."""
        with self._lock:
            self._samples.append(sample)
            while self._samples[0].arrived < sample.arrived - self._kept:
                self._samples.popleft()

    def pick(self, align: str, stamp: int, arrived: int) -> Stamped[Value] | None:
        """
        Choose the sample for an image of the clock.

        :param align: hold, nearest or next.
        :param stamp: of that image, ns; 0 if it has none.
        :param arrived: its time of reception, ns.
        :returns: None if no sample fits.
        """
        with self._lock:
            samples = self._samples
            if not samples:
                return None
            if not stamp or not samples[-1].stamp:
                # Without stamps only the order of arrival is known.
                return next((one for one in reversed(samples) if one.arrived <= arrived),
                            samples[-1])
            if align == 'hold':
                return self._newest_until(stamp)
            if align == 'next':
                return self._oldest_since(stamp)
            return self._nearest(stamp, arrived) or self._nearest(stamp, None)

    # Each search starts at the newest sample. An older one cannot be stamped later than a newer
    # one by more than _DISORDER, so the search ends as soon as no older sample can fit better.
    # Of samples with the same stamp the one that arrived first is chosen.

    def _newest_until(self, stamp: int) -> Stamped[Value] | None:
        best: Stamped[Value] | None = None
        for one in reversed(self._samples):
            if best is not None and one.stamp and one.stamp + _DISORDER < best.stamp:
                break
            if one.stamp <= stamp and (best is None or one.stamp >= best.stamp):
                best = one
        return best

    def _oldest_since(self, stamp: int) -> Stamped[Value] | None:
        best: Stamped[Value] | None = None
        for one in reversed(self._samples):
            if one.stamp and one.stamp + _DISORDER < stamp:
                break
            if one.stamp >= stamp and (best is None or one.stamp <= best.stamp):
                best = one
        return best

    def _nearest(self, stamp: int, arrived: int | None) -> Stamped[Value] | None:
        """Return the sample nearest in time; with ``arrived``, of those received by then."""
        best: Stamped[Value] | None = None
        for one in reversed(self._samples):
            if arrived is not None and one.arrived > arrived:
                continue
            distance = abs(one.stamp - stamp)
            if best is not None and one.stamp and (
                    one.stamp + _DISORDER < stamp - abs(best.stamp - stamp)):
                break
            if best is None or distance <= abs(best.stamp - stamp):
                best = one
        return best


@dataclass(frozen=True)
class Aligned:
    """
    The samples for one image of the clock.

    :param images: values of the cameras, in the order of the contract.
    :param state: float64 (P,), None where the contract has none.
    :param stamps: of the chosen samples, ns, by camera and by joint or ``state``.
    """

    images: tuple[Any, ...]
    state: np.ndarray | None
    stamps: Mapping[str, int]


class Aligner:
    """Keeps the samples of all streams of a contract and aligns them to an image."""

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
                    for name in self._names_of(vector, which)}
            for which, vector in ((STATE, contract.state), (ACTION, contract.action))
            if vector is not None}

    def image(self, camera: str, stamp: int, arrived: int, value: Any) -> None:
        """Add an image, by its camera's name."""
        self._images[camera].push(Stamped(stamp, arrived, value))

    def joints(self, which: str, stamp: int, arrived: int, names: Sequence[str],
               values: Sequence[float]) -> None:
        """Add joint positions; a message may hold some of the joints."""
        buffers = self._vectors[which]
        for name, value in zip(names, values):
            if name in buffers:
                buffers[name].push(Stamped(stamp, arrived, value))

    def array(self, which: str, stamp: int, arrived: int, values: Sequence[float]) -> None:
        """
        Add a whole vector.

        :param stamp: of its header; of a message without one, the ROS time of reception.
        """
        self._vectors[which][which].push(Stamped(stamp, arrived, tuple(values)))

    def newest_image(self, camera: str) -> Stamped[Any] | None:
        """Return the image of a camera that arrived last."""
        return self._images[camera].newest

    def newest_samples(self, which: str) -> dict[str, Stamped[Any] | None]:
        """Return the sample of each joint, or of the array, that arrived last."""
        return {name: buffer.newest for name, buffer in self._vectors[which].items()}

    def align(self, stamp: int, arrived: int, clock_value: Any) -> Aligned:
        """
        Choose the samples for an image of the clock.

        :param clock_value: that image.
        :raises MissingInput: a sample is missing, too old, or its numbers are not finite.
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
        Return the command for an image of the clock, float64 (D,).

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
    def _names_of(vector: VectorInput, which: str) -> tuple[str, ...]:
        return vector.names if vector.type == JOINTS else (which,)
