# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Detects a frozen camera and jumps of the clock."""

import zlib

import numpy as np

from vla_ros.errors import ParameterError

#: How far a joint must have moved, rad, for an image to be bound to change.
_MOVED = 0.05
#: Rows and columns between two pixels that are compared.
_STRIDE = 8


class FrozenImage:
    """
    Finds a camera that goes on sending the same image.

    An image that repeats its stamp was not taken anew. One that repeats its pixels may be of a
    scene in which nothing moves; so it counts as frozen only once the arm has moved meanwhile, or
    after a time that the user sets because his camera is noisy enough. Not thread-safe.
    """

    def __init__(self, stamps_after: float, pixels_after: float) -> None:
        """
        Start with no image seen.

        :param stamps_after: seconds for which a stamp may be repeated, 0 for ever.
        :param pixels_after: seconds for which pixels may be repeated, 0 for ever.
        """
        for name, value in (('stamps', stamps_after), ('pixels', pixels_after)):
            if not 0.0 <= value < 3600.0:
                raise ParameterError(f'image.frozen_{name}', value, 'seconds, 0 to 3600')
        self._stamps_after = stamps_after
        self._pixels_after = pixels_after
        self._stamp = self._digest = -1
        self._stamp_since = self._digest_since = 0.0
        self._joints: np.ndarray | None = None
        self._sample: np.ndarray = np.empty((0, 0, 3), np.uint8)

    def check(self, stamp: int, rgb: np.ndarray, now: float,
              joints: np.ndarray | None = None) -> str:
        """
        Check an image.

        :param stamp: in nanoseconds; 0 means that it has none.
        :param rgb: uint8 (H, W, 3).
        :param now: seconds of a steady clock.
        :param joints: float64 (N,), measured positions, where they are known.
        :returns: what is wrong, in words that stay the same while it lasts; empty if nothing is.
        """
        if stamp != self._stamp:
            self._stamp, self._stamp_since = stamp, now
        digest = self._digest_of(rgb)
        if digest != self._digest or self._joints is None:
            self._joints = joints
        if digest != self._digest:
            self._digest, self._digest_since = digest, now
        same_stamp, same_pixels = now - self._stamp_since, now - self._digest_since
        if stamp and 0.0 < self._stamps_after < same_stamp:
            return ('the camera has repeated one stamp for more than image.frozen_stamps, '
                    f'{self._stamps_after:g} s')
        if 0.0 < self._pixels_after < same_pixels:
            return ('the camera has sent the same pixels for more than image.frozen_pixels, '
                    f'{self._pixels_after:g} s')
        if same_pixels and joints is not None and self._joints is not None \
                and float(np.abs(joints - self._joints).max()) > _MOVED:
            return 'the camera sends the same pixels although the arm has moved'
        return ''

    def _digest_of(self, rgb: np.ndarray) -> int:
        pixels = rgb[::_STRIDE, ::_STRIDE]
        if pixels.shape != self._sample.shape:
            self._sample = np.empty(pixels.shape, np.uint8)
        np.copyto(self._sample, pixels)
        return zlib.crc32(self._sample.data)


class ClockCheck:
    """Finds jumps of the ROS clock; not thread-safe."""

    def __init__(self, most: float = 1.0) -> None:
        """
        Start with no time seen.

        :param most: seconds by which the clock may get ahead of, or behind, the steady one from
            one call to the next; with simulated time, which runs as it likes, by which it may
            advance.
        """
        self._most = most
        self._ros = self._steady = -1.0

    def check(self, ros: float, steady: float, is_simulated: bool) -> str:
        """
        Compare two clocks with what they showed the last time, in seconds.

        :returns: what is wrong; empty if nothing is.
        """
        if self._steady < 0.0 or self._ros <= 0.0:
            # The first call, or simulated time has only just begun.
            self._ros, self._steady = ros, steady
            return ''
        step, lapse = ros - self._ros, steady - self._steady
        self._ros, self._steady = ros, steady
        if step < -1e-3:
            return f'the clock went back by {-step:.3f} s'
        ahead = step if is_simulated else step - lapse
        if abs(ahead) > self._most:
            return f'the clock jumped by {ahead:.3f} s'
        return ''
