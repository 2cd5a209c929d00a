# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_bench model``: the engine against the plain way, stage by stage, on the same weights."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.bench.baseline import PlainOpenVla
from vla_ros.bench.machine import describe_machine
from vla_ros.bench.shapes import random_policy
from vla_ros.bench.shapes import SHAPES
from vla_ros.bench.sizes import parse_size
from vla_ros.bench.timing import summarize
from vla_ros.bench.timing import summarize_stages
from vla_ros.bench.timing import take_turns
from vla_ros.bench.work import Work
from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.model.openvla import OpenVlaPolicy
from vla_ros.policy import ActionChunk
from vla_ros.policy import ATTENTIONS
from vla_ros.policy import DEVICES
from vla_ros.policy import DTYPES
from vla_ros.policy import load_policy
from vla_ros.policy import Observation
from vla_ros.policy import PolicyConfig
from vla_ros.policy import QUANTIZATIONS
from vla_ros.tools.command_line import progress_bar

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
    parser.add_argument('--quantization', default='none', choices=QUANTIZATIONS,
                        help='measure the engine with such weights, too')
    parser.add_argument('--trace', metavar='FILE',
                        help='write a profiler trace for ui.perfetto.dev')
    parser.add_argument('--plot', metavar='FILE', help='write a PNG of the stages')


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; see the page docs/benchmarks.md for what the numbers mean."""
    if arguments.rounds < 1:
        raise ParameterError('--rounds', arguments.rounds, 'at least 1')
    width, height = parse_size(arguments.size)
    policy = _load(arguments)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    quantized = None
    if arguments.quantization != 'none':
        quantized = _load(arguments, arguments.quantization)
    bench = Bench(policy, Observation((image,), arguments.instruction), quantized)
    result = bench.measure(arguments.rounds)
    result['frame'] = f'{width}x{height}'
    result['model'] = arguments.checkpoint or f'of shape {arguments.shape}'
    if arguments.trace:
        bench.trace(Path(arguments.trace))
    if arguments.plot:
        plot(result, Path(arguments.plot))
    return result


def _load(arguments: argparse.Namespace, quantization: str = 'none') -> OpenVlaPolicy:
    """Load or make the policy; random weights answer anything, so that must be decoded, too."""
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
    quantized: OpenVlaPolicy | None = None

    def __post_init__(self) -> None:
        """Learn what the answer is, and how the prompt reads."""
        self._plain = PlainOpenVla(self.policy.engine.network, self.policy.image_processor)
        self._chunks: dict[str, list[ActionChunk]] = {}
        self.policy.reset()
        first = self.policy.infer(self.observation)
        self._tokens = first.token_ids
        self._ids = self.policy.close_prompt(first.input_ids)
        vocabulary = self.policy.engine.network.config.language_model.vocab_size
        self._wrong = [(token + 1) % vocabulary for token in self._tokens]

    def measure(self, rounds: int) -> dict[str, Any]:
        """Time all variants in turns, then the machine's ceilings."""
        variants = {'baseline': self.baseline, 'engine': self.engine, 'drafted': self.drafted,
                    'rejected': self.rejected}
        if self.quantized is not None:
            variants['quantized'] = self.run_quantized
        warmup = 3
        self._chunks = {name: [] for name in variants}
        spent = take_turns(variants, rounds, warmup)
        result: dict[str, Any] = {name: summarize(times) for name, times in spent.items()}
        p50 = {name: float(np.percentile(times, 50)) for name, times in spent.items()}
        chunks = {name: self._chunks[name][warmup:] for name in ('engine', 'drafted')}
        return {
            **result,
            'ratio_engine': round(p50['baseline'] / p50['engine'], 3),
            'ratio_drafted': round(p50['baseline'] / p50['drafted'], 3),
            'rejected_over_engine': round(p50['rejected'] / p50['engine'], 3),
            **self._compare_quantized(p50),
            'accepted': chunks['drafted'][-1].accepted, 'drafts': chunks['drafted'][-1].drafted,
            'stages_ms': summarize_stages([chunk.timings_ms for chunk in chunks['engine']]),
            'drafted_stages_ms': summarize_stages(
                [chunk.timings_ms for chunk in chunks['drafted']]),
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
        """Run the engine on the frame of the previous run: every guess is right."""
        self.policy.engine.draft(self._tokens)
        self._keep('drafted')

    def rejected(self) -> None:
        """Run the engine on guesses that are all wrong."""
        self.policy.engine.draft(self._wrong)
        self._keep('rejected')

    def run_quantized(self) -> None:
        """Run the engine with quantised weights, without a draft."""
        assert self.quantized is not None, 'only then is it a variant'
        self.quantized.reset()
        self._chunks['quantized'].append(self.quantized.infer(self.observation))

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
        self._chunks[name].append(self.policy.infer(self.observation))

    def _compare_quantized(self, p50: Mapping[str, float]) -> dict[str, Any]:
        if self.quantized is None:
            return {}
        tokens = self._chunks['quantized'][-1].token_ids
        return {'ratio_quantized': round(p50['engine'] / p50['quantized'], 3),
                'quantization': self.quantized.spec.quantization,
                'quantized_equal_tokens': sum(ours == theirs for ours, theirs in
                                              zip(tokens, self._tokens))}

    def _agreement(self) -> dict[str, Any]:
        """Compare the tokens of all variants with those of the plain way."""
        expected = self.baseline()
        runs = [chunk for name in ('engine', 'drafted', 'rejected')
                for chunk in self._chunks[name]]
        equal = sum(ours == theirs for chunk in runs
                    for ours, theirs in zip(chunk.token_ids, expected))
        differing = [float(chunk.margins[place]) for chunk in runs
                     for place, (ours, theirs) in enumerate(zip(chunk.token_ids, expected))
                     if ours != theirs]
        return {'token_agreement': round(equal / sum(len(chunk.token_ids) for chunk in runs), 5),
                'margins_where_different': sorted(differing)[:10]}

    def _ceilings(self, stages: Mapping[str, float], result: Mapping[str, Any]) -> dict[str, Any]:
        """Say how near to what the machine can do the stages come."""
        network = self.policy.engine.network
        weight = network.language_model.embed_tokens.weight
        machine = describe_machine(network.device, weight.dtype)
        work = Work.of(network, network.patch_count + len(self._ids))
        count = len(self._tokens)
        medians = summarize_stages([chunk.timings_ms for chunk in self._chunks['engine']])
        floor = work.floor_ms(machine['copy_gb_per_s'] * 1e9,
                              machine['matmul_tflop_per_s'] * 1e12, count)
        seconds = {stage: medians[stage]['p50_ms'] / 1e3
                   for stage in ('vision', 'prefill', 'decode')}
        return {
            'machine': machine, 'floor_ms': floor,
            'over_floor': {name: round(result[name]['p50_ms'] / floor[name], 2)
                           for name in floor},
            'achieved': {
                'vision_tflop_per_s': round(work.vision / seconds['vision'] / 1e12, 4),
                'prefill_tflop_per_s': round(work.prefill / seconds['prefill'] / 1e12, 4),
                'decode_gb_per_s': round(
                    (count - 1) * work.decode / seconds['decode'] / 1e9, 2)}}


def table(result: Mapping[str, Any]) -> str:
    """Give the result as Markdown."""
    lines = [f'Model {result["model"]}, frames {result["frame"]}, n = {result["rounds"]} runs of '
             'each variant, taken in turns.', '',
             f'Machine: {result["machine"]["line"]}, load {result["machine"]["load_average"]}.',
             '',
             '| variant | p50 ms | p99 ms | max ms | jitter ms | baseline / it |',
             '| --- | --- | --- | --- | --- | --- |']
    names = {'baseline': 'plain Hugging Face', 'engine': 'engine, no draft',
             'drafted': 'engine, draft accepted', 'rejected': 'engine, draft rejected',
             'quantized': 'engine, quantised'}
    for name, label in names.items():
        row = result.get(name)
        if row is None:
            continue
        ratio = result['baseline']['p50_ms'] / row['p50_ms']
        lines.append(f'| {label} | {row["p50_ms"]:.2f} | {row["p99_ms"]:.2f} | '
                     f'{row["max_ms"]:.2f} | {row["jitter_ms"]:.2f} | {ratio:.2f} |')
    lines += ['', '| stage | no draft: p50 ms | p99 ms | draft accepted: p50 ms | p99 ms |',
              '| --- | --- | --- | --- | --- |']
    for stage, row in result['stages_ms'].items():
        other = result['drafted_stages_ms'].get(stage, {'p50_ms': 0.0, 'p99_ms': 0.0})
        lines.append(f'| {stage} | {row["p50_ms"]:.2f} | {row["p99_ms"]:.2f} | '
                     f'{other["p50_ms"]:.2f} | {other["p99_ms"]:.2f} |')
    machine, achieved = result['machine'], result['achieved']
    lines += ['', f'Ceilings measured: copy {machine["copy_gb_per_s"]:.1f} GB/s, matrix product '
              f'{machine["matmul_tflop_per_s"]:.3f} TFLOP/s. Achieved: vision '
              f'{achieved["vision_tflop_per_s"]:.3f} and prefill '
              f'{achieved["prefill_tflop_per_s"]:.3f} TFLOP/s, decode '
              f'{achieved["decode_gb_per_s"]:.1f} GB/s. Floor {result["floor_ms"]["engine"]:.2f} '
              f'ms without a draft, {result["floor_ms"]["drafted"]:.2f} ms with a perfect one.',
              '', f'Tokens equal to the plain way: {100 * result["token_agreement"]:.2f} %.']
    return '\n'.join(lines)


def plot(result: Mapping[str, Any], path: Path) -> None:
    """
    Draw the stages of each variant as bars.

    :raises UnsupportedError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UnsupportedError('--plot', 'matplotlib is not installed',
                               'run pip install matplotlib') from None
    figure = Figure(figsize=(8, 2.6), layout='constrained')
    axes = figure.add_subplot()
    axes.barh('plain Hugging Face', result['baseline']['p50_ms'], color='0.7', label='in all')
    colors = {stage: f'C{index}' for index, stage in enumerate(result['stages_ms'])}
    for label, key in (('engine', 'stages_ms'), ('engine, draft accepted', 'drafted_stages_ms')):
        left = 0.0
        for stage, row in result[key].items():
            axes.barh(label, row['p50_ms'], left=left, color=colors.get(stage),
                      label=stage if key == 'stages_ms' else None)
            left += row['p50_ms']
    axes.invert_yaxis()
    axes.set_xlabel(f'ms (p50 of {result["rounds"]} runs)')
    axes.set_title(result['machine']['line'], fontsize=6)
    axes.legend(fontsize=6, ncols=4)
    figure.savefig(path, dpi=150, format='png')
