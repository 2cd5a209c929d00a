# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_predict``: one prediction from image files, without ROS."""

import argparse
from collections.abc import Sequence
import json
from pathlib import Path
import sys

import numpy as np

from vla_ros.cli.model_options import add_model_options
from vla_ros.cli.model_options import make_policy_config
from vla_ros.data.image_files import read_image
from vla_ros.data.instructions import check_instruction
from vla_ros.errors import InvalidAction
from vla_ros.errors import ParameterError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.load import load_policy
from vla_ros.util.argument_parser import ArgumentParser
from vla_ros.util.command_line import progress_bar
from vla_ros.util.command_line import run_tool

INVALID_ACTION_STATUS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    return run_tool('vla_predict', lambda: predict(arguments))


def predict(arguments: argparse.Namespace) -> int:
    """Load, infer once, print."""
    check_instruction(arguments.instruction, '--instruction')
    observation = Observation(
        images=tuple(read_image(Path(path)) for path in arguments.image),
        instruction=arguments.instruction,
        proprio=_read_vector(arguments.proprio))
    with progress_bar() as progress:
        policy = load_policy(make_policy_config(
            arguments, clip_invalid=arguments.clip_invalid, image_count=len(arguments.image),
            use_proprio=arguments.proprio is not None, warmup=False, progress=progress))
    try:
        chunk = policy.infer(observation)
    except InvalidAction as error:
        print(f'vla_predict: {error}', file=sys.stderr)
        if arguments.json:
            print(json.dumps(_describe_invalid(error, policy.spec)))
        return INVALID_ACTION_STATUS
    if arguments.json:
        print(json.dumps(_describe(chunk, policy.spec)))
    else:
        _print_chunk(chunk, policy.spec)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog='vla_predict', description=__doc__)
    add_model_options(parser)
    parser.add_argument('--image', required=True, action='append', metavar='FILE',
                        help='any image Pillow reads, or .npy (uint8 H×W×3); repeat for more')
    parser.add_argument('--instruction', required=True, metavar='TEXT')
    parser.add_argument('--proprio', metavar='v,v,…', help="the robot's state, for OFT")
    parser.add_argument('--clip-invalid', action='store_true',
                        help='decode non-action tokens as the official code does')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


def _read_vector(text: str | None) -> np.ndarray | None:
    if text is None:
        return None
    try:
        return np.array([float(value) for value in text.split(',')])
    except ValueError:
        raise ParameterError('--proprio', text, 'numbers separated by commas') from None


def _describe(chunk: ActionChunk, spec: PolicySpec) -> dict:
    """Make the JSON object; a single action is a flat list, a chunk a list of rows."""
    single = len(chunk.actions) == 1
    rows = (lambda array: array[0].tolist()) if single else (lambda array: array.tolist())
    return {
        'prompt': chunk.prompt,
        'input_ids': list(chunk.input_ids),
        'token_ids': list(chunk.token_ids),
        'bins': list(chunk.bins),
        'margins': [round(float(margin), 6) for margin in chunk.margins],
        'normalized_action': rows(chunk.normalized),
        'action': rows(chunk.actions),
        'action_shape': list(chunk.actions.shape[single:]),
        'period_s': chunk.period_s,
        'timings_ms': {name: round(value, 3) for name, value in chunk.timings_ms.items()},
        **_describe_policy(spec),
    }


def _describe_invalid(error: InvalidAction, spec: PolicySpec) -> dict:
    return {
        'prompt': error.prompt,
        'input_ids': list(error.input_ids),
        'token_ids': list(error.token_ids),
        'invalid': list(error.positions),
        'reason': error.reason,
        **_describe_policy(spec),
    }


def _describe_policy(spec: PolicySpec) -> dict:
    return {
        'checkpoint': spec.checkpoint,
        'revision': spec.revision,
        'unnorm_key': spec.unnorm_key,
        'device': spec.device,
        'dtype': spec.dtype,
        'attention': spec.attention,
        'attention_reason': spec.attention_reason,
        'quantization': spec.quantization,
    }


def _print_chunk(chunk: ActionChunk, spec: PolicySpec) -> None:
    print(f'prompt     {chunk.prompt!r}')
    if chunk.token_ids:
        print(f'tokens     {" ".join(map(str, chunk.token_ids))}')
    for row, action in enumerate(chunk.actions):
        label = 'action' if len(chunk.actions) == 1 else f'action {row}'
        print(f'{label:<10} {" ".join(f"{value:+.5f}" for value in action)}')
    at = f' at commit {spec.revision}' if spec.revision else ''
    print(f'checkpoint {spec.checkpoint}{at}')
    print(f'scaled by  {spec.unnorm_key}')
    print(f'ran on     {spec.device}, {spec.dtype}, attention {spec.attention} '
          f'({spec.attention_reason})')
    stages = ', '.join(f'{name} {value:.1f}' for name, value in chunk.timings_ms.items())
    print(f'took       {sum(chunk.timings_ms.values()):.1f} ms: {stages}')


if __name__ == '__main__':
    sys.exit(main())
