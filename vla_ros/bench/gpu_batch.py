# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Times the engine of batches by the number of observations."""

import argparse
from collections.abc import Sequence
from typing import Any

import torch

from vla_ros.bench.gpu_inputs import keep
from vla_ros.bench.gpu_inputs import noise
from vla_ros.bench.gpu_inputs import random_policy_of
from vla_ros.bench.gpu_inputs import WARMUP
from vla_ros.bench.timing import summarize
from vla_ros.bench.timing import summarize_stages
from vla_ros.model.batch_engine import BatchEngine
from vla_ros.model.batch_engine import BatchItem
from vla_ros.model.engine import DecodedAction
from vla_ros.model.engine import Engine
from vla_ros.model.timings import choose_timings

#: Numbers of observations.
BATCHES = (1, 2, 4, 8, 16)


def batch(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time batches of different images, without drafts and with accepted ones."""
    policy = random_policy_of(arguments)
    prompt = policy.close_prompt(policy.infer(noise()).input_ids)
    alone = policy.engine
    engine = BatchEngine(alone.network, alone.max_length, alone.count)
    engine.prepare(BATCHES, len(prompt))
    torch.manual_seed(0)
    images = torch.randn(max(BATCHES), *alone.pixels.shape[1:]).to(alone.pixels)
    expected = [_decode(alone, image, prompt) for image in images]
    result: dict[str, Any] = {}
    for size in BATCHES:
        for name, drafts in (('no draft', [[]] * size), ('drafts accepted', expected)):
            items = [BatchItem(*item) for item in zip(images[:size], [prompt] * size, drafts)]
            result[f'{size} observations, {name}'] = _measure(
                engine, items, expected, arguments.rounds)
        keep(result)
    return result


def _decode(engine: Engine, image: torch.Tensor, prompt: tuple[int, ...]) -> list[int]:
    engine.pixels.copy_(image[None])
    return engine.run_apart(prompt, choose_timings(engine.network.device)).token_ids


def _measure(engine: BatchEngine, items: Sequence[BatchItem], expected: Sequence[list[int]],
             rounds: int) -> dict[str, Any]:
    timings = choose_timings(engine.network.device)
    runs: list[dict[str, float]] = []
    decoded: list[DecodedAction] = []
    for number in range(rounds + WARMUP):
        timings.start()
        decoded = engine.run(items, timings)
        if number >= WARMUP:
            runs.append(timings.milliseconds())
    whole = summarize([sum(run.values()) for run in runs])
    pairs = [pair for one, tokens in zip(decoded, expected)
             for pair in zip(one.token_ids, tokens)]
    return {'p50_ms': whole['p50_ms'], 'p99_ms': whole['p99_ms'],
            'observations per second': round(1e3 * len(items) / whole['p50_ms'], 1),
            'phases': {phase: row['p50_ms'] for phase, row in summarize_stages(runs).items()},
            'tokens as alone': f'{sum(ours == theirs for ours, theirs in pairs)} of {len(pairs)}',
            'drafted tokens accepted': sum(one.accepted for one in decoded)}
