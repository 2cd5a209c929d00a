# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The measurements of ``gpu_check`` that ``vla_bench`` does not make; the last line counts."""

import argparse
import sys
import time
from typing import Any

import numpy as np
import torch

from vla_ros.bench.gpu_batch import batch
from vla_ros.bench.gpu_batch import BATCHES
from vla_ros.bench.gpu_inputs import config_of
from vla_ros.bench.gpu_inputs import keep
from vla_ros.bench.gpu_inputs import noise
from vla_ros.bench.gpu_inputs import random_policy_of
from vla_ros.bench.gpu_inputs import time_runs
from vla_ros.bench.gpu_inputs import wait_for
from vla_ros.bench.gpu_inputs import WARMUP
from vla_ros.bench.gpu_layers import compiled
from vla_ros.bench.gpu_layers import fused
from vla_ros.bench.gpu_products import products
from vla_ros.bench.kernels import decode_operations
from vla_ros.bench.kernels import profile_kernels
from vla_ros.bench.machine import describe_machine
from vla_ros.bench.sizes import parse_size
from vla_ros.bench.timing import summarize
from vla_ros.bench.timing import summarize_stages
from vla_ros.model.graph_capture import PlainCalls
from vla_ros.model.heads import MlpResNet
from vla_ros.model.oft_modules import OftModules
from vla_ros.model.parallel_decoder import ParallelDecoder
from vla_ros.model.pixels import DevicePixels
from vla_ros.model.prepare import choose_machine
from vla_ros.model.timings import choose_timings

#: Actions and dimensions of a chunk of OpenVLA-OFT on LIBERO.
_CHUNK = (8, 7)


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    """Describe the machine and measure its ceilings."""
    chosen = choose_machine(config_of(arguments))
    described = describe_machine(chosen.device, chosen.dtype)
    return {**described, 'cuda': torch.version.cuda, 'attention': chosen.attention.reason}


def steps(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time consecutive inferences, on frames that differ, without and with drafts."""
    policy = random_policy_of(arguments)
    observation = noise()
    result: dict[str, Any] = {'rounds': arguments.rounds}
    for name, is_drafted in (('no draft', False), ('draft accepted', True)):
        chunks, spent = [], []
        for number in range(arguments.rounds + WARMUP):
            if not is_drafted:
                policy.reset()
            began = time.perf_counter()
            chunk = policy.infer(observation)
            if number >= WARMUP:
                spent.append((time.perf_counter() - began) * 1e3)
                chunks.append(chunk.timings_ms)
        row = summarize(spent)
        result[name] = {**row, 'p99 over p50': round(row['p99_ms'] / row['p50_ms'], 3),
                        'phases': {phase: times['p50_ms'] for phase, times in
                                   summarize_stages(chunks).items()}}
        keep(result)
    return result


def frame(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time upload and preprocessing of large frames, prefetched and not."""
    policy = random_policy_of(arguments, 'tiny')
    width, height = parse_size(arguments.size)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels = policy.engine.pixels
    # On a CPU, too, the operations of the device.
    loader = policy._load_pixels if pixels.device.type == 'cuda' else DevicePixels(
        policy.image_processor, pixels)
    result: dict[str, Any] = {'frame': arguments.size}
    for name, is_prefetched in (('with its inference', False), ('prefetched', True)):
        runs = []
        for number in range(arguments.rounds + WARMUP):
            frame = loader.prefetch(image) if is_prefetched and loader.prefetch else None
            wait_for(pixels.device)
            timings = choose_timings(pixels.device)
            timings.start()
            loader(image, timings, frame)
            if number >= WARMUP:
                runs.append(timings.milliseconds())
        result[name] = {phase: row['p50_ms'] for phase, row in summarize_stages(runs).items()}
    return result


def profile(arguments: argparse.Namespace) -> dict[str, Any]:
    """Count the operations of a decode pass, and on a GPU its kernels."""
    policy = random_policy_of(arguments)
    engine = policy.engine
    policy.infer(noise())
    length = engine.max_length - engine.count
    counted = decode_operations(engine.network, engine.buffers, length)
    result: dict[str, Any] = {
        'operations per layer': round(sum(counted.per_layer.values()), 2),
        'operations outside of layers': counted.other,
        'by name': {name: round(count, 2) for name, count in counted.per_layer.items()}}
    if engine.network.device.type == 'cuda':
        layers = len(engine.network.language_model.layers)
        profiled = profile_kernels(engine.graphs())
        result.update(profiled)
        result['kernels per layer'] = round(
            (profiled['kernels_per_step'] - counted.other) / layers, 2)
    return result


def oft(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time OpenVLA-OFT's one pass with an L1 head, and vision towers by batch."""
    network = random_policy_of(arguments).engine.network
    weight = network.language_model.embed_tokens.weight
    side = network.config.towers[0].image_size
    channels = 3 * len(network.config.towers)
    hidden = network.config.language_model.hidden_size
    head = MlpResNet(2, _CHUNK[1] * hidden, hidden, _CHUNK[1]).to(weight.device, weight.dtype)
    modules = OftModules('l1', head.requires_grad_(False).eval())
    image: np.ndarray = np.zeros((1, channels, side, side), np.float32)
    result: dict[str, Any] = {}
    for name, recorder in (('unrecorded', PlainCalls()), ('captured', None)):
        decoder = ParallelDecoder(network, modules, _CHUNK, 1, recorder)
        decoder.set_prompt(tuple(range(1, 21)))
        decoder.prepare()

        def infer() -> None:
            decoder.observe(image)
            decoder.predict()

        result[f'one chunk of 8 actions, {name}'] = time_runs(infer, weight.device,
                                                              arguments.rounds)
    for size in BATCHES:
        images = torch.zeros(size, channels, side, side, device=weight.device,
                             dtype=weight.dtype)
        with torch.inference_mode():
            result[f'vision, batch {size}'] = time_runs(
                lambda: network.embed_image(images), weight.device, arguments.rounds)
    return result


_MEASUREMENTS = {'machine': machine, 'steps': steps, 'frame': frame, 'profile': profile,
                 'oft': oft, 'fused': fused, 'products': products, 'batch': batch,
                 'compiled': compiled}


def main() -> int:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('measurement', choices=_MEASUREMENTS)
    parser.add_argument('--shape', required=True)
    parser.add_argument('--device', required=True)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--size', default='640x480')
    arguments = parser.parse_args()
    keep(_MEASUREMENTS[arguments.measurement](arguments))
    return 0


if __name__ == '__main__':
    sys.exit(main())
