# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_bench model``: the engine against the plain way, stage by stage, on the same weights."""

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.bench.baseline import PlainOpenVla
from vla_ros.bench.handover import Handover
from vla_ros.bench.machine import describe_machine
from vla_ros.bench.model_report import plot
from vla_ros.bench.model_report import table
from vla_ros.bench.operation_counts import OperationCounts
from vla_ros.bench.quantization import compare
from vla_ros.bench.quantization import parse_quantizations
from vla_ros.bench.shapes import random_policy
from vla_ros.bench.shapes import SHAPES
from vla_ros.bench.sizes import parse_size
from vla_ros.bench.timing import run_interleaved
from vla_ros.bench.timing import summarize
from vla_ros.bench.timing import summarize_stages
from vla_ros.data.image_files import read_image
from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.model.acceptance import AcceptanceHistory
from vla_ros.model.openvla import OpenVlaPolicy
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.choices import ATTENTIONS
from vla_ros.policy.choices import DEVICES
from vla_ros.policy.choices import DTYPES
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.util.command_line import progress_bar

#: The phases of an inference; those that a device does not have take no time.
STAGES = ('wait', 'upload', 'preprocess', 'vision', 'prefill', 'decode', 'read-back', 'post')
_WARMUP = 3
_NOISE = 8

__all__ = ['HELP', 'add_arguments', 'run', 'table']

HELP = 'time of an inference, against Hugging Face’s generate on the same weights'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this benchmark takes."""
    model = parser.add_mutually_exclusive_group()
    model.add_argument('--checkpoint', metavar='DIR',
                       help='folder or hub id of a checkpoint')
    model.add_argument('--shape', choices=sorted(SHAPES), default='tiny',
                       help='random weights of this shape, made on the device; default: tiny')
    parser.add_argument('--unnorm-key', metavar='K',
                        help='dataset whose statistics scale the action')
    parser.add_argument('--instruction', default='pick up the cup', metavar='TEXT')
    parser.add_argument('--size', default='640x480', metavar='WxH', help='of the frames')
    parser.add_argument('--rounds', type=int, default=50, help='runs of each variant')
    parser.add_argument('--device', default='auto', choices=DEVICES)
    parser.add_argument('--dtype', default='auto', choices=DTYPES)
    parser.add_argument('--attention', default='auto', choices=ATTENTIONS)
    parser.add_argument('--quantization', default='none', metavar='LIST',
                        help='compare such weights with full ones: int8,int4,fp8')
    parser.add_argument('--images', nargs='+', default=[], metavar='FILE',
                        help='frames to infer from in place of noise: what Pillow reads, or .npy')
    parser.add_argument('--trace', metavar='FILE',
                        help='write a profiler trace for ui.perfetto.dev')
    parser.add_argument('--plot', metavar='FILE', help='write a PNG of the stages')


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; see the page docs/benchmarks.md for what the numbers mean."""
    if arguments.rounds < 1:
        raise ParameterError('--rounds', arguments.rounds, 'at least 1')
    names = parse_quantizations(arguments.quantization)
    observations = _observations(arguments)
    policy = _load(arguments)
    bench = Bench(policy, observations[0])
    result = bench.measure(arguments.rounds)
    if len(names) > 1:
        result['quantizations'] = compare(
            policy, names, lambda name: _load(arguments, name), observations, arguments.rounds)
    height, width, _ = observations[0].images[0].shape
    result['frame'] = f'{width}x{height}'
    result['model'] = arguments.checkpoint or f'of shape {arguments.shape}'
    if arguments.trace:
        bench.trace(Path(arguments.trace))
    if arguments.plot:
        plot(result, Path(arguments.plot))
    return result


def _observations(arguments: argparse.Namespace) -> list[Observation]:
    """Read the frames, or make some of noise."""
    width, height = parse_size(arguments.size)
    random = np.random.default_rng(0)
    images = [read_image(Path(path)) for path in arguments.images] or [
        random.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(_NOISE)]
    return [Observation((image,), arguments.instruction) for image in images]


def _load(arguments: argparse.Namespace, quantization: str = 'none') -> OpenVlaPolicy:
    """Load or make the policy; random weights give any token, so every token must be decoded."""
    config = PolicyConfig(
        arguments.checkpoint or arguments.shape, arguments.unnorm_key, arguments.device,
        arguments.dtype, arguments.attention, quantization, clip_invalid=True)
    if not arguments.checkpoint:
        return random_policy(arguments.shape, config)
    with progress_bar() as progress:
        policy = load_policy(replace(config, progress=progress))
    if not isinstance(policy, OpenVlaPolicy):
        raise UnsupportedError(f'checkpoint {arguments.checkpoint}',
                               'it does not decode token by token, so there is nothing to compare '
                               'with', 'use a checkpoint that is not OpenVLA-OFT')
    return policy


@dataclass
class Bench:
    """Runs the variants on one observation, over and over."""

    policy: OpenVlaPolicy
    observation: Observation

    def __post_init__(self) -> None:
        """Infer once, for the tokens and the prompt that the variants share."""
        self._plain = PlainOpenVla(self.policy.engine.network, self.policy.image_processor)
        self._chunks: dict[str, list[ActionChunk]] = {}
        self.policy.reset()
        first = self.policy.infer(self.observation)
        self._tokens = first.token_ids
        self._ids = self.policy.close_prompt(first.input_ids)
        vocabulary = self.policy.engine.network.config.language_model.vocab_size
        self._wrong = [(token + 1) % vocabulary for token in self._tokens]
        self._rejected_history = AcceptanceHistory()
        # In place of the camera's thread, which prefetches the next frame.
        self._camera = ThreadPoolExecutor(1)
        self._coming: Future | None = None

    def measure(self, rounds: int) -> dict[str, Any]:
        """Time all variants in turns, then the machine's ceilings."""
        variants = {'baseline': self.baseline, 'engine': self.engine, 'drafted': self.drafted,
                    'rejected': self.rejected, 'rejected_first': self.rejected_first}
        self._chunks = {name: [] for name in variants}
        with Handover(self.policy) as handover:
            spent = run_interleaved({**variants, 'wait': handover.wait}, rounds, _WARMUP)
        del spent['wait']
        waits = handover.waits_ms[_WARMUP:]
        result: dict[str, Any] = {name: summarize(times) for name, times in spent.items()}
        p50 = {name: float(np.percentile(times, 50)) for name, times in spent.items()}
        chunks = {name: self._chunks[name][_WARMUP:] for name in ('engine', 'drafted')}
        return {
            **result,
            'ratio_engine': round(p50['baseline'] / p50['engine'], 3),
            'ratio_drafted': round(p50['baseline'] / p50['drafted'], 3),
            # Of the two runs of each round, next to each other: p50 alone would follow the noise.
            **{f'ratio_{name}': round(float(np.median(
                np.divide(spent[name], spent['engine']))), 4)
               for name in ('rejected', 'rejected_first')},
            'accepted': chunks['drafted'][-1].accepted, 'drafts': chunks['drafted'][-1].drafted,
            'stages_ms': _summarize(chunks['engine'], waits),
            'drafted_stages_ms': _summarize(chunks['drafted'], waits),
            'rounds': rounds,
            **self._agreement(),
            **self._ceilings(chunks['engine'][0].timings_ms, result)}

    def baseline(self) -> list[int]:
        """Run the plain way."""
        return self._plain(self.observation.images[0], self._ids, len(self._tokens))

    def engine(self) -> None:
        """Run the engine without a draft."""
        self.policy.reset()
        self._keep('engine')

    def drafted(self) -> None:
        """Run the engine on the frame of the previous run: the draft is accepted."""
        self.policy.engine.history = AcceptanceHistory()
        self.policy.engine.draft(self._tokens)
        self._keep('drafted')

    def rejected(self) -> None:
        """Run the engine with drafts that are wrong throughout, frame after frame."""
        self.policy.reset()
        # That of this variant, in which no other one has run.
        self.policy.engine.history = self._rejected_history
        self.policy.engine.draft(self._wrong)
        self._keep('rejected')

    def rejected_first(self) -> None:
        """Run the engine on its first rejected draft."""
        self.policy.reset()
        self.policy.engine.draft(self._wrong)
        self._keep('rejected_first')

    def trace(self, path: Path) -> None:
        """Profile one run of each kind, into a file that Perfetto opens."""
        from torch.profiler import profile
        from torch.profiler import ProfilerActivity
        from torch.profiler import record_function
        activities = [ProfilerActivity.CPU]
        if self.policy.engine.network.device.type == 'cuda':
            activities.append(ProfilerActivity.CUDA)
        with profile(activities=activities) as profiler:
            for variant in (self.baseline, self.engine, self.drafted):
                with record_function(variant.__name__):
                    variant()
        profiler.export_chrome_trace(str(path))

    def _keep(self, name: str) -> None:
        frame = None if self._coming is None else self._coming.result()
        if self.policy.prefetch is not None:
            self._coming = self._camera.submit(self.policy.prefetch, self.observation.images[0])
        self._chunks[name].append(self.policy.infer(replace(self.observation, prefetched=frame)))

    def _agreement(self) -> dict[str, Any]:
        """Compare the tokens of all variants with those of the plain way."""
        expected = self.baseline()
        runs = [chunk for name in self._chunks for chunk in self._chunks[name]]
        equal = sum(ours == theirs for chunk in runs
                    for ours, theirs in zip(chunk.token_ids, expected))
        differing = [float(chunk.margins[position]) for chunk in runs
                     for position, (ours, theirs) in enumerate(zip(chunk.token_ids, expected))
                     if ours != theirs]
        return {'token_agreement': round(equal / sum(len(chunk.token_ids) for chunk in runs), 5),
                'margins_where_different': sorted(differing)[:10]}

    def _ceilings(self, stages: Mapping[str, float], result: Mapping[str, Any]) -> dict[str, Any]:
        """Return how near to what the machine can do the stages come."""
        network = self.policy.engine.network
        weight = network.language_model.embed_tokens.weight
        machine = describe_machine(network.device, weight.dtype)
        counts = OperationCounts.of(network, network.patch_count + len(self._ids))
        count = len(self._tokens)
        medians = summarize_stages([chunk.timings_ms for chunk in self._chunks['engine']])
        floor = counts.floor_ms(machine['copy_gb_per_s'] * 1e9,
                                machine['matmul_tflop_per_s'] * 1e12, count)
        seconds = {stage: medians[stage]['p50_ms'] / 1e3
                   for stage in ('vision', 'prefill', 'decode')}
        return {
            'machine': machine, 'floor_ms': floor,
            'over_floor': {name: round(result[name]['p50_ms'] / floor[name], 2)
                           for name in floor},
            'achieved': {
                'vision_tflop_per_s': round(counts.vision / seconds['vision'] / 1e12, 4),
                'prefill_tflop_per_s': round(counts.prefill / seconds['prefill'] / 1e12, 4),
                'decode_gb_per_s': round(
                    (count - 1) * counts.decode / seconds['decode'] / 1e9, 2)}}


def _summarize(chunks: Sequence[ActionChunk],
               waits: Sequence[float]) -> dict[str, dict[str, float]]:
    """Sum up all stages, those that the device does not have included."""
    runs = [dict.fromkeys(STAGES, 0.0) | {'wait': wait} | dict(chunk.timings_ms)
            for chunk, wait in zip(chunks, waits)]
    return summarize_stages(runs)
