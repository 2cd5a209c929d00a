# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Times the consecutive phases of an inference, without a wait of the host for the device."""

import time
from typing import Protocol

import torch


class Timings(Protocol):
    """Times consecutive phases, each from the end of the one before."""

    def start(self) -> None:
        """Start the first phase of an inference."""

    def finish(self, phase: str) -> None:
        """End a phase and begin the next one."""

    def milliseconds(self) -> dict[str, float]:
        """Return the time of each phase; phases of one name are summed."""


class HostTimings:
    """Reads the host's clock, which on a CPU times the work itself."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._last = time.monotonic()

    def start(self) -> None:
        """Start the first phase of an inference."""
        self._spent = {}
        self._last = time.monotonic()

    def finish(self, phase: str) -> None:
        """End a phase and begin the next one."""
        now = time.monotonic()
        self._spent[phase] = self._spent.get(phase, 0.0) + (now - self._last) * 1e3
        self._last = now

    def milliseconds(self) -> dict[str, float]:
        """Return the time of each phase."""
        return self._spent


class CudaTimings:
    """
    Reads the device's time between CUDA events, which are allocated once.

    The host runs ahead of the device: its own clock would time the launches. If the device waits
    for the host before a phase, that wait is part of the phase.
    """

    def __init__(self, most_phases: int = 16) -> None:
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(most_phases + 1)]
        self._phases: list[str] = []

    def start(self) -> None:
        """Start the first phase of an inference."""
        self._phases.clear()
        self._events[0].record()

    def finish(self, phase: str) -> None:
        """End a phase and begin the next one."""
        self._phases.append(phase)
        self._events[len(self._phases)].record()

    def milliseconds(self) -> dict[str, float]:
        """Return the time of each phase; waits for the last one."""
        self._events[len(self._phases)].synchronize()
        spent: dict[str, float] = {}
        for index, phase in enumerate(self._phases):
            taken = self._events[index].elapsed_time(self._events[index + 1])
            spent[phase] = spent.get(phase, 0.0) + taken
        return spent


def choose_timings(device: torch.device) -> Timings:
    """Return the timings of a device."""
    return CudaTimings() if device.type == 'cuda' else HostTimings()
