# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Frames on their way to the device, which travel while the one before is still being answered."""

from dataclasses import dataclass
import threading

import numpy as np
import torch

# One that is being answered, one that waits to be, and one that is written.
_SLOTS = 3


class Slot:
    """
    Room for a frame on the host, and on the device; both are kept for the next one.

    :ivar frame: uint8 (H, W, 3) on the device.
    :ivar number: which frame of this slot it holds, or is about to.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        """Allocate a frame on both sides."""
        self.number = 0
        self.frame = torch.empty(shape, dtype=torch.uint8, device=device)
        self._host = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == 'cuda')
        self._array = self._host.numpy()

    def write(self, image: np.ndarray) -> None:
        """Copy a frame out of its message, once, and send it to the device."""
        np.copyto(self._array, image)
        self._send()

    def receive(self) -> None:
        """Let what is launched from now on wait until the frame is on the device."""

    def release(self) -> None:
        """Note that what was launched so far is all that reads the frame."""

    def _send(self) -> None:
        self.frame.copy_(self._host)


class StreamedSlot(Slot):
    """A slot whose frames travel on a stream of their own, beside whatever the GPU computes."""

    def __init__(self, shape: tuple[int, ...], device: torch.device,
                 stream: torch.cuda.Stream) -> None:
        """Allocate a frame on both sides."""
        super().__init__(shape, device)
        self._stream = stream
        self._arrived = torch.cuda.Event()
        self._read = torch.cuda.Event()

    def write(self, image: np.ndarray) -> None:
        """Copy a frame out of its message, once, and send it to the device."""
        # The pinned memory is free once what was in it has arrived.
        self._arrived.synchronize()
        super().write(image)

    def receive(self) -> None:
        """Let what is launched from now on wait until the frame is on the device."""
        torch.cuda.current_stream(self.frame.device).wait_event(self._arrived)

    def release(self) -> None:
        """Note that what was launched so far is all that reads the frame."""
        self._read.record(torch.cuda.current_stream(self.frame.device))

    def _send(self) -> None:
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._read)
            self.frame.copy_(self._host, non_blocking=True)
            self._arrived.record(self._stream)


@dataclass(frozen=True)
class Staged:
    """A frame that was sent ahead; worth nothing once its slot holds a later one."""

    slot: Slot
    number: int


class Uploads:
    """
    The frames of one size: sent by whoever receives them, answered by another thread.

    The newest one that was sent and the one that is being answered keep their slots. An older one
    loses its slot; should it be answered all the same, it is sent again.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        """Allocate the slots."""
        self.shape = shape
        if device.type == 'cuda':
            stream = torch.cuda.Stream(device)
            self._slots: list[Slot] = [StreamedSlot(shape, device, stream) for _ in range(_SLOTS)]
        else:
            self._slots = [Slot(shape, device) for _ in range(_SLOTS)]
        self._newest = self._answered = self._slots[0]
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def stage(self, image: np.ndarray) -> Staged:
        """
        Send a frame ahead; from any thread.

        :param image: uint8 (H, W, 3) of this size, of any strides; it is read before this returns.
        """
        with self._writing:
            with self._lock:
                slot = next(slot for slot in self._slots
                            if slot is not self._newest and slot is not self._answered)
                slot.number += 1
            slot.write(image)
            with self._lock:
                self._newest = slot
            return Staged(slot, slot.number)

    def claim(self, image: np.ndarray, staged: Staged | None) -> Slot:
        """
        Give the slot that holds a frame, until the next call; from the thread that answers.

        :param staged: what :meth:`stage` gave for this very frame, if it was sent ahead.
        """
        while True:
            with self._lock:
                if (staged is not None and staged.slot in self._slots
                        and staged.slot.number == staged.number):
                    self._answered = staged.slot
                    return staged.slot
            staged = self.stage(image)
