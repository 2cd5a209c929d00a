# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What each quantisation costs and saves: memory by part, speed, agreement with full weights."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import time
from typing import Any

import numpy as np

from vla_ros.bench.timing import summarize
from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.model.memory import activation_peak
from vla_ros.model.memory import memory_by_module
from vla_ros.model.memory import memory_of_buffers
from vla_ros.model.openvla import OpenVlaPolicy
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.choices import QUANTIZATIONS

_MEBIBYTE = 2**20
_WARMUP = 2
#: What memory is counted for, and its heading.
_PARTS = {'vision': 'vision', 'projector': 'projector', 'language_model': 'language model',
          'buffers': 'cache, buffers', 'activations': 'activations'}


def parse_quantizations(text: str) -> tuple[str, ...]:
    """
    Read a list with commas; ``none`` always is the first, what the others are compared with.

    :raises ParameterError: one of them does not exist.
    """
    names = [name.strip() for name in text.split(',')]
    for name in names:
        if name not in QUANTIZATIONS:
            raise ParameterError('--quantization', name, f'one of {", ".join(QUANTIZATIONS)}, or '
                                 'several with commas between them')
    return tuple(dict.fromkeys(['none', *names]))


def compare(reference: OpenVlaPolicy, names: Sequence[str],
            load: Callable[[str], OpenVlaPolicy], observations: Sequence[Observation],
            rounds: int) -> list[dict[str, Any]]:
    """
    Measure the reference and each quantisation, which take turns frame by frame.

    :param reference: with full weights, ``names[0]``.
    :param load: loads the policy with other weights.
    :param observations: used one after the other, one each round.
    :param rounds: inferences of each policy; at least once through all observations.
    :returns: a row for each name; one that this machine cannot run says why under ``reason``.
    """
    policies, reasons = {names[0]: reference}, {}
    for name in names[1:]:
        try:
            policies[name] = load(name)
        except UnsupportedError as error:
            reasons[name] = str(error)
    spent, results = _infer_interleaved(policies, observations, max(rounds, len(observations)))
    full = float(np.median(spent[names[0]]))
    rows: list[dict[str, Any]] = []
    for name in names:
        if name in reasons:
            rows.append({'quantization': name, 'reason': reasons[name]})
            continue
        rows.append({
            'quantization': name, 'reason': None, **summarize(spent[name]),
            'speed': round(full / float(np.median(spent[name])), 3),
            'memory_mib': _memory(policies[name], observations[0]),
            **_agreement(results[names[0]], results[name])})
    return rows


def _infer_interleaved(
        policies: Mapping[str, OpenVlaPolicy], observations: Sequence[Observation],
        rounds: int) -> tuple[dict[str, list[float]], dict[str, list[ActionChunk]]]:
    """Return the milliseconds and the results of each policy, without those of the warm-up."""
    spent: dict[str, list[float]] = {name: [] for name in policies}
    results: dict[str, list[ActionChunk]] = {name: [] for name in policies}
    for number in range(-_WARMUP, rounds):
        for name, policy in policies.items():
            # Without the previous result: drafts would hide the cost of a pass.
            policy.reset()
            began = time.perf_counter()
            chunk = policy.infer(observations[number % len(observations)])
            if number >= 0:
                spent[name].append((time.perf_counter() - began) * 1e3)
                results[name].append(chunk)
    return spent, results


def _memory(policy: OpenVlaPolicy, observation: Observation) -> dict[str, float]:
    engine = policy.engine
    sizes = memory_by_module(engine.network)
    sizes['buffers'] = memory_of_buffers(engine.buffers)
    sizes['activations'] = activation_peak(lambda: policy.infer(observation),
                                           engine.network.device)
    sizes['total'] = sum(sizes.values())
    return {name: round(size / _MEBIBYTE, 2) for name, size in sizes.items()}


def _agreement(expected: Sequence[ActionChunk], chunks: Sequence[ActionChunk]) -> dict[str, Any]:
    """Compare tokens, and how far the actions lie apart where both are whole."""
    pairs = [pair for ours, theirs in zip(expected, chunks)
             for pair in zip(ours.token_ids, theirs.token_ids)]
    apart = [float(np.abs(ours.normalized - theirs.normalized).mean())
             for ours, theirs in zip(expected, chunks)]
    return {'tokens': len(pairs), 'results': len(chunks),
            'token_agreement': round(sum(ours == theirs for ours, theirs in pairs)
                                     / len(pairs), 5),
            'action_error': round(float(np.mean(apart)), 6)}


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the rows as lines of Markdown."""
    lines = ['| weights | p50 ms | p99 ms | speed | tokens as full weights | mean error of the '
             'normalised action | MiB in all | ' + ' | '.join(_PARTS.values()) + ' |',
             '| --- ' * (7 + len(_PARTS)) + '|']
    for row in rows:
        if row['reason'] is not None:
            continue
        memory = row['memory_mib']
        sizes = ' | '.join(f'{memory[part]:.1f}' for part in _PARTS)
        lines.append(
            f'| {row["quantization"]} | {row["p50_ms"]:.2f} | {row["p99_ms"]:.2f} | '
            f'{row["speed"]:.2f} | {100 * row["token_agreement"]:.1f} % of {row["tokens"]} | '
            f'{row["action_error"]:.4f} | {memory["total"]:.1f} | {sizes} |')
    return lines + [line for row in rows if row['reason'] is not None
                    for line in ('', f'{row["quantization"]}: not here. {row["reason"]}.')]
