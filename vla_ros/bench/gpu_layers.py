# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Times the engine with other layers: Triton's kernels, and what PyTorch compiles."""

import argparse
from collections.abc import Callable
from collections.abc import Mapping
import os
import time
from typing import Any

from vla_ros.bench.gpu_inputs import keep
from vla_ros.bench.gpu_inputs import noise
from vla_ros.bench.gpu_inputs import random_policy_of
from vla_ros.bench.kernels import decode_operations
from vla_ros.bench.timing import summarize_stages
from vla_ros.errors import UnsupportedError
from vla_ros.model.engine import Engine
from vla_ros.model.fused import compile_layers
from vla_ros.model.fused import use_fused_kernels
from vla_ros.model.fused import use_plain_operations
from vla_ros.model.fused import use_split_k_kernels
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.quantize import check_quantization
from vla_ros.model.quantize import quantize
from vla_ros.model.timings import choose_timings

Changes = Mapping[str, Callable[[OpenVlaNetwork], None]]


def fused(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare fused kernels with plain layers, with full weights and in fp8."""
    if arguments.device == 'cpu':
        # Read when the kernels are imported: a rehearsal has Triton's interpreter for a GPU.
        os.environ['TRITON_INTERPRET'] = '1'
    compared = LayerComparison(arguments)
    changes: Changes = {'fused kernels': use_fused_kernels, 'split-K kernels': use_split_k_kernels}
    result: dict[str, Any] = {}
    compared.run(changes, result, 'full weights, ')
    network = compared.network
    if network.device.type == 'cuda':
        try:
            check_quantization('fp8', network.device,
                               network.language_model.embed_tokens.weight.dtype)
        except UnsupportedError as error:
            return {**result, 'fp8': f'not here: {error}'}
    quantize(network, 'fp8', network.device)
    compared.run(changes, result, 'fp8, ')
    return result


def compiled(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare compiled layers with plain ones."""
    result: dict[str, Any] = {}
    LayerComparison(arguments).run({'compiled layers': lambda network: compile_layers(
        network, mode='max-autotune-no-cudagraphs')}, result)
    return result


class LayerComparison:
    """Engines of one network, whose layers are changed between them; all see the same image."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        policy = random_policy_of(arguments)
        self._prompt = policy.close_prompt(policy.infer(noise()).input_ids)
        self._like = policy.engine
        self._rounds = arguments.rounds
        self.network = self._like.network

    def run(self, changes: Changes, result: dict[str, Any], prefix: str = '') -> None:
        """
        Time an engine with plain layers, and one after each change.

        :param result: gets of each, under its name with the prefix, p50 of its phases in ms,
            start-up in s, operations of a layer and decode step, and tokens equal to those of
            plain layers.
        """
        expected: list[int] = []
        for name, change in {'plain layers': use_plain_operations, **changes}.items():
            began = time.perf_counter()
            change(self.network)
            engine = Engine(self.network, self._like.max_length, self._like.count)
            engine.pixels.copy_(self._like.pixels)
            engine.prepare([len(self._prompt)])
            tokens, phases, started = self._measure(engine)
            expected = expected or tokens
            counted = decode_operations(self.network, engine.buffers,
                                        self.network.patch_count + len(self._prompt))
            result[f'{prefix}{name}'] = {
                **phases, 'start-up, s': round(started - began, 2),
                'operations per layer': round(sum(counted.per_layer.values()), 2),
                'tokens as plain': f'{sum(map(int.__eq__, tokens, expected))} of {len(tokens)}'}
            keep(result)

    def _measure(self, engine: Engine) -> tuple[list[int], dict[str, float], float]:
        """Return the tokens, p50 of the phases, and when the first inference ended."""
        spent, timings, started = [], choose_timings(self.network.device), 0.0
        # The graphs are captured, and with them the kernels compiled. Triton's interpreter on a
        # CPU takes half a minute for a run.
        warmup = 1 if self.network.device.type == 'cuda' else 0
        for number in range(self._rounds + warmup):
            engine.reset()
            engine.set_prompt(self._prompt)
            timings.start()
            tokens = engine.run(timings).token_ids
            started = started or time.perf_counter()
            if number >= warmup:
                spent.append(timings.milliseconds())
        phases = {phase: row['p50_ms'] for phase, row in summarize_stages(spent).items()}
        return tokens, phases, started
