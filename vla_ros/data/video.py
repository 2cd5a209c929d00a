# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Videos of a dataset by PyAV: written frame by frame, and read a frame at a time."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
import os
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.errors import VlaError
from vla_ros.util.packages import missing_package

#: Codec by its name here: FFmpeg's encoder, and its options. A key frame every other frame, as
#: LeRobot has it, makes any frame quick to reach.
_ENCODERS = {'h264': ('libx264', {'crf': '20', 'g': '2', 'preset': 'veryfast'}),
             'av1': ('libsvtav1', {'crf': '30', 'g': '2', 'preset': '10'})}
CODECS = tuple(_ENCODERS)
#: What FFmpeg calls the codec of a stream, by its name here.
_STREAMS = {'h264': 'h264', 'av1': 'av1'}


class VideoError(VlaError):
    """A video that cannot be read."""


def require_av() -> Any:
    """
    Return the module ``av``.

    :raises UnsupportedError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise missing_package('video', error) from None
    # FFmpeg writes to stderr about each encoder otherwise.
    av.logging.set_level(av.logging.FATAL)
    return av


@contextmanager
def _preserved_scheduling() -> Iterator[None]:
    """
    Restore the scheduling of this process's threads.

    Run by root, SVT-AV1 gives its threads and the calling one SCHED_FIFO with the highest
    priority. Every process that is started later inherits that.
    """
    policy = os.sched_getscheduler(0) if hasattr(os, 'sched_getscheduler') else None
    try:
        yield
    finally:
        if policy is not None and policy == os.SCHED_OTHER:
            _set_scheduling(policy)


def _set_scheduling(policy: int) -> None:
    for thread in map(int, os.listdir('/proc/self/task')):
        try:
            if os.sched_getscheduler(thread) != policy:
                os.sched_setscheduler(thread, policy, os.sched_param(0))
        except ProcessLookupError:  # it has just ended
            pass


class VideoWriter:
    """Writes one MP4 file with a constant rate of frames."""

    def __init__(self, path: Path, codec: str, fps: float, size: tuple[int, int]) -> None:
        """
        Open the file.

        :param codec: one of :data:`CODECS`.
        :param size: height and width.
        :raises ParameterError: the codec cannot hold such images.
        :raises UnsupportedError: PyAV is missing, or cannot encode such images.
        """
        av = require_av()
        height, width = size
        encoder, options = _ENCODERS[codec]
        if codec == 'av1' and min(size) < 64:
            raise ParameterError('image size', f'{width}x{height}', 'at least 64x64 for av1; '
                                 'h264 or images take any')
        is_even = height % 2 == width % 2 == 0
        if codec == 'av1' and not is_even:
            raise ParameterError('image size', f'{width}x{height}', 'even for av1; h264 or images '
                                 'take any')
        self.size = size
        self.frames = 0
        #: FFmpeg's name of the pixels' layout in the video.
        self.pixel_format = 'yuv420p' if is_even else 'yuv444p'
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), 'w')
        try:
            rate = Fraction(fps).limit_denominator(1001)
            self._stream = self._container.add_stream(encoder, rate=rate, options=options)
            self._stream.width, self._stream.height = width, height
            self._stream.pix_fmt = self.pixel_format
            # This starts the encoder's threads and writes the file's header. Without it the file
            # would not exist before the first packet, which comes frames later.
            with _preserved_scheduling():
                self._container.start_encoding()
        except Exception as error:  # FFmpeg's own errors
            self._container.close()
            raise UnsupportedError(
                f'video codec {codec}', f'this PyAV cannot encode {width}x{height} images with '
                f'{encoder} ({" ".join(str(error).split())})', 'pip install av') from None
        self._frame_of = av.VideoFrame.from_ndarray

    def write(self, rgb: np.ndarray) -> None:
        """Add a frame, uint8 (H, W, 3)."""
        frame = self._frame_of(np.ascontiguousarray(rgb), format='rgb24')
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()


class VideoReader:
    """Reads frames by their time; the files used last stay open."""

    def __init__(self, most_open: int = 8) -> None:
        """
        Start with nothing open.

        :param most_open: files that may be open; each costs its decoder's memory.
        """
        self._most_open = most_open
        self._open: OrderedDict[Path, _OpenVideo] = OrderedDict()

    def read(self, path: Path, seconds: float, tolerance: float) -> np.ndarray:
        """
        Decode the frame at a time.

        :param tolerance: seconds that its time may differ.
        :returns: uint8 (H, W, 3) RGB.
        :raises VideoError: there is none, or the file cannot be read.
        """
        try:
            video = self._open.get(path)
            if video is None:
                if len(self._open) >= self._most_open:
                    self._open.popitem(last=False)[1].close()
                video = self._open[path] = _OpenVideo(path)
            self._open.move_to_end(path)
            return video.read(seconds, tolerance)
        except VideoError:
            raise
        except Exception as error:  # FFmpeg's own errors, of a file that is damaged
            raise VideoError(f'{path}: it cannot be read as a video ({type(error).__name__}: '
                             f'{" ".join(str(error).split())})') from None

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1].close()

    def __getstate__(self) -> dict[str, Any]:
        """Exclude the open files: a worker process opens its own."""
        return {'_most_open': self._most_open, '_open': OrderedDict()}


class _OpenVideo:
    """One file, and the frame that was decoded last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container = require_av().open(str(path))
        if not self._container.streams.video:
            raise VideoError(f'{path}: it holds no video')
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = 'NONE'
        self._frames: Any = iter(())
        self._last: Any = None

    def read(self, seconds: float, tolerance: float) -> np.ndarray:
        if self._last is None or not self._is_near(seconds):
            self._container.seek(round(seconds / self._stream.time_base), stream=self._stream,
                                 backward=True)
            self._frames = self._container.decode(self._stream)
            self._last = None
        found = self._last
        while found is None or found.time < seconds - tolerance:
            found = next(self._frames, None)
            if found is None:
                raise VideoError(f'{self._path}: it has no frame at {seconds:.3f} s')
        self._last = found
        if abs(found.time - seconds) > tolerance:
            raise VideoError(f'{self._path}: it has no frame at {seconds:.3f} s; the next one is '
                             f'at {found.time:.3f} s')
        return found.to_ndarray(format='rgb24')

    def _is_near(self, seconds: float) -> bool:
        """Return whether decoding on is quicker than a seek."""
        return 0.0 <= seconds - self._last.time < 0.5

    def close(self) -> None:
        self._container.close()
