# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Description of this machine, with measured ceilings of copies and matrix products."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
import os
from pathlib import Path
import platform
import time
from typing import Any

import torch


def describe_machine(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Name the parts that decide how fast a model runs, and measure the ceilings."""
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else processor_name()
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    versions = {package: installed(package) for package in
                ('torch', 'transformers', 'pillow', 'numpy')}
    line = f'{name}, {cores} cores, {threads} threads, ' + ', '.join(
        f'{package} {number}' for package, number in versions.items())
    return {'line': line, 'device': name, 'cores': cores, 'threads': threads,
            'load_average': round(os.getloadavg()[0], 2), 'python': platform.python_version(),
            **versions, 'dtype': str(dtype).removeprefix('torch.'),
            'copy_gb_per_s': round(copy_rate(device) / 1e9, 2),
            'matmul_tflop_per_s': round(matmul_rate(device, dtype) / 1e12, 4)}


def processor_name() -> str:
    """Name the CPU."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()


def installed(package: str) -> str:
    """Return the version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return 'none'


def copy_rate(device: torch.device) -> float:
    """Measure copying within the device's memory, bytes read and written per second."""
    size = 2**31 if device.type == 'cuda' else 2**26
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _shortest(lambda: target.copy_(source), device)


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure a large matrix product of random numbers, operations per second."""
    side = 8192 if device.type == 'cuda' else 1024
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)
    return 2 * side**3 / _shortest(lambda: torch.mm(left, right, out=out), device)


def _shortest(run: Callable[[], object], device: torch.device, repeats: int = 7) -> float:
    """Return the seconds of the fastest of a few runs: a ceiling is what nothing disturbed."""
    times = []
    for _ in range(repeats):
        _wait(device)
        began = time.perf_counter()
        run()
        _wait(device)
        times.append(time.perf_counter() - began)
    return min(times)


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
