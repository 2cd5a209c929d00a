# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Uploads of frames, which overlap with the inference of the frame before."""

from dataclasses import dataclass
import threading

import numpy as np
import torch

# One in inference, one that waits for its inference, and one that is being written.
_SLOTS = 3


class Slot:
    """
    Memory for one frame on the host and on the device, reused for later frames.

    :ivar frame: uint8 (H, W, 3) on the device.
    :ivar number: counts the frames of this slot.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        """Allocate a frame on both sides."""
        self.number = 0
        self.frame = torch.empty(shape, dtype=torch.uint8, device=device)
        self._host = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == 'cuda')
        self._array = self._host.numpy()

    def upload(self, image: np.ndarray) -> None:
        """Copy a frame out of its message, once, and start its transfer to the device."""
        np.copyto(self._array, image)
        self._transfer()

    def wait(self) -> None:
        """Make later launches of the current stream wait for the transfer."""

    def release(self) -> None:
        """Record that launches of the current stream so far are all that read the frame."""

    def _transfer(self) -> None:
        self.frame.copy_(self._host)


class StreamedSlot(Slot):
    """A slot with transfers on a stream of their own, beside whatever the GPU computes."""

    def __init__(self, shape: tuple[int, ...], device: torch.device,
                 stream: torch.cuda.Stream) -> None:
        """Allocate a frame on both sides."""
        super().__init__(shape, device)
        self._stream = stream
        # The allocator knows only the stream that allocated a block. Work of that stream on the
        # block's previous owner may be pending now, a transfer may be when the slot is dropped.
        stream.wait_stream(torch.cuda.current_stream(device))
        self.frame.record_stream(stream)
        self._arrived = torch.cuda.Event()
        self._read = torch.cuda.Event()

    def upload(self, image: np.ndarray) -> None:
        """Copy a frame out of its message, once, and start its transfer to the device."""
        # The pinned memory is free once its previous contents have arrived.
        self._arrived.synchronize()
        super().upload(image)

    def wait(self) -> None:
        """Make later launches of the current stream wait for the transfer."""
        torch.cuda.current_stream(self.frame.device).wait_event(self._arrived)

    def release(self) -> None:
        """Record that launches of the current stream so far are all that read the frame."""
        self._read.record(torch.cuda.current_stream(self.frame.device))

    def _transfer(self) -> None:
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._read)
            self.frame.copy_(self._host, non_blocking=True)
            self._arrived.record(self._stream)


@dataclass(frozen=True)
class PrefetchedFrame:
    """A frame that was prefetched; stale once its slot holds a later one."""

    slot: Slot
    number: int


class UploadSlots:
    """
    The slots of one frame size: written by the receiving thread, read by the inferring one.

    The newest prefetched frame and the frame in inference keep their slots. An older one loses its
    slot, and is uploaded again if it is inferred from all the same.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        """Allocate the slots."""
        self.shape = shape
        if device.type == 'cuda':
            stream = torch.cuda.Stream(device)
            self.slots: list[Slot] = [StreamedSlot(shape, device, stream) for _ in range(_SLOTS)]
        else:
            self.slots = [Slot(shape, device) for _ in range(_SLOTS)]
        self._newest = self._in_use = self.slots[0]
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def prefetch(self, image: np.ndarray) -> PrefetchedFrame:
        """
        Start the upload of a frame, from any thread.

        :param image: uint8 (H, W, 3) of this size, of any strides; read before this returns.
        """
        with self._writing:
            with self._lock:
                slot = next(slot for slot in self.slots
                            if slot is not self._newest and slot is not self._in_use)
                slot.number += 1
            slot.upload(image)
            with self._lock:
                self._newest = slot
            return PrefetchedFrame(slot, slot.number)

    def acquire(self, image: np.ndarray, prefetched: PrefetchedFrame | None) -> Slot:
        """
        Return the slot that holds a frame until the next call, from the inferring thread.

        :param prefetched: the result of :meth:`prefetch` for this very frame, if there is one.
        """
        while True:
            with self._lock:
                if (prefetched is not None and prefetched.slot in self.slots
                        and prefetched.slot.number == prefetched.number):
                    self._in_use = prefetched.slot
                    return prefetched.slot
            prefetched = self.prefetch(image)
