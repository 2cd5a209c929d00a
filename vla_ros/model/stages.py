# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Measures the consecutive stages of an inference, without making the host wait for the device."""

import time
from typing import Protocol

import torch


class StageClock(Protocol):
    """Measures consecutive stages."""

    def start(self) -> None:
        """Begin the first stage of an inference."""

    def finish(self, stage: str) -> None:
        """End a stage and begin the next one."""

    def milliseconds(self) -> dict[str, float]:
        """Give the time of each stage; stages of one name are added up."""


class HostClock:
    """Takes the host's time, which on a CPU is that of the work itself."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._last = time.monotonic()

    def start(self) -> None:
        """Begin the first stage of an inference."""
        self._spent = {}
        self._last = time.monotonic()

    def finish(self, stage: str) -> None:
        """End a stage and begin the next one."""
        now = time.monotonic()
        self._spent[stage] = self._spent.get(stage, 0.0) + (now - self._last) * 1e3
        self._last = now

    def milliseconds(self) -> dict[str, float]:
        """Give the time of each stage."""
        return self._spent


class CudaClock:
    """
    Takes the device's time between events, which are kept and used again.

    The host runs ahead of the device: its own time would tell how long launching took. What the
    device waits for the host, before a stage, counts as part of that stage.
    """

    def __init__(self, most_stages: int = 16) -> None:
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(most_stages + 1)]
        self._stages: list[str] = []

    def start(self) -> None:
        """Begin the first stage of an inference."""
        self._stages.clear()
        self._events[0].record()

    def finish(self, stage: str) -> None:
        """End a stage and begin the next one."""
        self._stages.append(stage)
        self._events[len(self._stages)].record()

    def milliseconds(self) -> dict[str, float]:
        """Give the time of each stage; waits for the last of them."""
        self._events[len(self._stages)].synchronize()
        spent: dict[str, float] = {}
        for index, stage in enumerate(self._stages):
            taken = self._events[index].elapsed_time(self._events[index + 1])
            spent[stage] = spent.get(stage, 0.0) + taken
        return spent


def choose_clock(device: torch.device) -> StageClock:
    """Pick the clock of a device."""
    return CudaClock() if device.type == 'cuda' else HostClock()
