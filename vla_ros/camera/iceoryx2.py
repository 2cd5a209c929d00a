# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Frames from a camera driver in Python to the node on the same machine, through iceoryx2.

It is no ROS topic: no tool sees it, nothing records it, and both ends run as the same user, with
the same ROS_DOMAIN_ID. In return a frame reaches the policy's preprocessing without being copied.
A driver needs few lines::

    camera = Iceoryx2Camera('/camera/image_raw', max_bytes=640 * 480 * 3)
    while True:
        with camera.frame(480, 640, 'rgb8', frame_id='camera') as pixels:
            grab_into(pixels)  # uint8 (480, 640, 3), shared memory

Either side may be killed at any time: what it leaves behind is removed when the next one starts.
"""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import ctypes
from dataclasses import dataclass
import logging
import os
import threading
import time
from typing import Any

import numpy as np

from vla_ros.camera.image_encodings import PIXEL_BYTES
from vla_ros.errors import ImageError
from vla_ros.errors import UnsupportedError
from vla_ros.util.packages import missing_package

_logger = logging.getLogger(__name__)

# A frame that waits for the worker, one that it works on, and one that is being received.
_BORROWED = 3
# Seconds after which a receiver checks whether it is to end.
_PATIENCE = 0.1
_ENCODING_BYTES = 16
_FRAME_ID_BYTES = 64


class _Header(ctypes.Structure):
    """What travels with the pixels; its layout is part of the contract of both sides."""

    _fields_ = [
        ('stamp', ctypes.c_uint64),
        ('sequence', ctypes.c_uint64),
        ('height', ctypes.c_uint32),
        ('width', ctypes.c_uint32),
        ('step', ctypes.c_uint32),
        ('reserved', ctypes.c_uint32),
        ('encoding', ctypes.c_char * _ENCODING_BYTES),
        ('frame_id', ctypes.c_char * _FRAME_ID_BYTES),
    ]

    @staticmethod
    def type_name() -> str:
        """Name the layout, for iceoryx2 to refuse a driver with another one."""
        return 'vla_ros::FrameHeader1'


@dataclass(frozen=True)
class SharedFrame:
    """
    A frame in shared memory.

    :param stamp: when it was taken, in nanoseconds of ROS time.
    :param sequence: counts the frames of a driver, from 0.
    :param data: the rows, uint8 (height * step,), read-only. The memory is not reused while this
        array, or any view of it, is kept; keeping more than a few stops the reception.
    """

    stamp: int
    frame_id: str
    sequence: int
    encoding: str
    height: int
    width: int
    step: int
    data: np.ndarray


class _Loan:
    """Gives numpy the memory of a sample, and holds the sample for as long as numpy holds this."""

    def __init__(self, sample: Any, address: int, size: int) -> None:
        self._sample = sample
        self.__array_interface__ = {'shape': (size,), 'typestr': '|u1', 'version': 3,
                                    'data': (address, True)}


class Iceoryx2Camera:
    """The camera's side: one per topic."""

    def __init__(self, topic: str = '/camera/image_raw', max_bytes: int = 3840 * 2160 * 3) -> None:
        """
        Reserve the memory.

        :param topic: any name; the node uses that of its image topic.
        :param max_bytes: of the largest frame; shared memory for about six is reserved.
        :raises UnsupportedError: iceoryx2 is missing, or another camera has the topic.
        """
        self._iox2 = _import_iceoryx2()
        self._topic = topic
        self._max_bytes = max_bytes
        self._sequence = 0
        self._node, frames, events = _open_services(self._iox2, topic)
        try:
            self._publisher = (
                frames.publisher_builder().max_loaned_samples(1).initial_max_slice_len(max_bytes)
                .backpressure_strategy(self._iox2.BackpressureStrategy.DiscardData).create())
        except self._iox2.PublisherCreateError as error:
            raise UnsupportedError(f'iceoryx2 camera {topic}', f'it cannot be opened: {error}',
                                   'is another camera publishing there? stop it') from error
        self._notifier = events.notifier_builder().create()

    @contextmanager
    def frame(self, height: int, width: int, encoding: str = 'rgb8', frame_id: str = 'camera',
              stamp: int | None = None) -> Iterator[np.ndarray]:
        """
        Lend memory for a frame, and send it at the end of the ``with`` block.

        :param encoding: as in sensor_msgs/Image, of 8 bits a channel.
        :param stamp: when it was taken, in nanoseconds of ROS time; now if None.
        :returns: uint8 (height, width, channels), to be filled; not to be touched after the block.
        :raises ImageError: it is larger than ``max_bytes``, or of an encoding without a size.
        """
        step, size = self._measure(height, width, encoding)
        loan = self._publisher.loan_slice_uninit(size)
        header = loan.user_header().contents
        header.stamp = time.time_ns() if stamp is None else stamp
        header.sequence = self._sequence
        header.height, header.width, header.step = height, width, step
        header.encoding, header.frame_id = encoding.encode(), _short(frame_id)
        yield np.frombuffer(loan.payload().as_memory_view(), np.uint8).reshape(height, width, -1)
        loan.assume_init().send()
        self._sequence += 1
        self._notifier.notify()

    def publish(self, image: np.ndarray, encoding: str = 'rgb8', frame_id: str = 'camera',
                stamp: int | None = None) -> None:
        """
        Send a frame that lies elsewhere, which costs a copy.

        :param image: uint8 (height, width, channels).
        :raises ImageError: as :meth:`frame` does.
        """
        height, width = image.shape[:2]
        with self.frame(height, width, encoding, frame_id, stamp) as pixels:
            pixels[:] = image.reshape(pixels.shape)

    def _measure(self, height: int, width: int, encoding: str) -> tuple[int, int]:
        if encoding not in PIXEL_BYTES:
            raise ImageError(f'encoding {encoding!r}: it must be one of {", ".join(PIXEL_BYTES)}')
        step = width * PIXEL_BYTES[encoding]
        if not 0 < height * step <= self._max_bytes:
            raise ImageError(f'{encoding} image of {width}x{height} pixels: it has '
                             f'{height * step} bytes, room is for 1 to {self._max_bytes}')
        return step, height * step


def _log_end(error: BaseException) -> None:
    _logger.critical('the thread that receives frames has ended', exc_info=error)


class FrameReceiver:
    """The node's side: hands over the newest frame at each wake-up, in a thread."""

    def __init__(self, topic: str, take: Callable[[SharedFrame], None],
                 ended: Callable[[BaseException], None] = _log_end) -> None:
        """
        Start to receive.

        :param take: called in the receiver's thread.
        :param ended: called there with what has ended it before :meth:`stop`.
        :raises UnsupportedError: iceoryx2 is missing, or the topic is used in another way.
        """
        self._iox2 = _import_iceoryx2()
        self._topic = topic
        self._take = take
        self._node, frames, events = _open_services(self._iox2, topic)
        self._subscriber = frames.subscriber_builder().create()
        self._listener = events.listener_builder().create()
        self._ended = ended
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='vla_iceoryx2', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop receiving frames; those that were handed over stay valid."""
        self._stopping.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        try:
            self._receive()
        except BaseException as error:  # whatever it is: nothing else would report it
            if not self._stopping.is_set():
                self._ended(error)

    def _receive(self) -> None:
        patience = self._iox2.Duration.from_secs_f64(_PATIENCE)
        while not self._stopping.is_set():
            self._listener.timed_wait(patience)
            try:
                sample = self._subscriber.receive()
            except self._iox2.ReceiveError as error:
                _logger.error('frames of %s are lost while older ones are kept: %s',
                              self._topic, error)
                continue
            if sample is not None:
                self._hand_over(sample)

    def _hand_over(self, sample: Any) -> None:
        try:
            self._take(_shared_frame(sample))
        except Exception:
            _logger.exception('a frame could not be taken; the next one is tried')


def _shared_frame(sample: Any) -> SharedFrame:
    header, payload = sample.user_header().contents, sample.payload()
    data = np.asarray(_Loan(sample, payload.data_ptr, payload.number_of_elements))
    return SharedFrame(header.stamp, header.frame_id.decode(errors='replace'), header.sequence,
                       header.encoding.decode(errors='replace'), header.height, header.width,
                       header.step, data)


def _open_services(iox2: Any, topic: str) -> tuple[Any, Any, Any]:
    """Open what both sides must open with the same settings."""
    # Creating a node removes what dead ones have left.
    node = iox2.NodeBuilder.new().signal_handling_mode(
        iox2.SignalHandlingMode.Disabled).create(iox2.ServiceType.Ipc)
    # Machines and tests keep apart what belongs apart by the domain, also here.
    domain = os.environ.get('ROS_DOMAIN_ID') or '0'
    name = iox2.ServiceName.new(f'vla_ros/{domain}{topic}')
    try:
        frames = (node.service_builder(name).publish_subscribe(iox2.Slice[ctypes.c_uint8])
                  .user_header(_Header).max_publishers(1).max_subscribers(4).history_size(0)
                  .subscriber_max_buffer_size(1).subscriber_max_borrowed_samples(_BORROWED)
                  .enable_safe_overflow(True).open_or_create())
        events = node.service_builder(name).event().open_or_create()
    except (iox2.PublishSubscribeOpenOrCreateError, iox2.EventOpenOrCreateError) as error:
        raise UnsupportedError(f'iceoryx2 topic {topic}', f'it cannot be opened: {error}',
                               'use the same version of vla_ros on both sides') from error
    return node, frames, events


def _import_iceoryx2() -> Any:
    try:
        import iceoryx2
    except ImportError as error:
        raise missing_package('image.source iceoryx2', error) from error
    # It would say on stderr that it has no configuration file, which it needs none of.
    iceoryx2.set_log_level_from_env_or(iceoryx2.LogLevel.Error)
    return iceoryx2


def _short(frame_id: str) -> bytes:
    encoded = frame_id.encode()
    if len(encoded) >= _FRAME_ID_BYTES:
        raise ImageError(f'frame_id {frame_id!r}: it must be shorter than {_FRAME_ID_BYTES} bytes')
    return encoded
