# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Times of variants that take turns, so that other load on the machine slows all of them."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import time

import numpy as np


def run_interleaved(variants: Mapping[str, Callable[[], object]], rounds: int,
                    warmup: int) -> dict[str, list[float]]:
    """
    Run each variant once a round.

    :returns: milliseconds of each run by variant, without those of the warm-up.
    """
    spent: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(warmup + rounds):
        for name, variant in variants.items():
            began = time.perf_counter()
            variant()
            if number >= warmup:
                spent[name].append((time.perf_counter() - began) * 1e3)
    return spent


def summarize(milliseconds: Sequence[float]) -> dict[str, float]:
    """
    Summarise times.

    :returns: ``p50_ms``, ``p99_ms``, ``max_ms`` and ``jitter_ms``, the mean difference from one
        run to the next.
    """
    times = np.asarray(milliseconds, np.float64)
    changes = np.abs(np.diff(times))
    return {'p50_ms': round(float(np.percentile(times, 50)), 3),
            'p99_ms': round(float(np.percentile(times, 99)), 3),
            'max_ms': round(float(times.max()), 3),
            'jitter_ms': round(float(changes.mean()) if changes.size else 0.0, 3)}


def summarize_stages(runs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Sum up the times of each stage, in the order of the stages."""
    stages = dict.fromkeys(stage for run in runs for stage in run)
    return {stage: summarize([run.get(stage, 0.0) for run in runs]) for stage in stages}
