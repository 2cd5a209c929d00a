# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The options of every tool that loads a model, and the policy they describe."""

import argparse
from typing import Any

from vla_ros.data.transforms import GRIPPER_TRANSFORMS
from vla_ros.data.transforms import IMAGE_TRANSFORMS
from vla_ros.policy.choices import ATTENTIONS
from vla_ros.policy.choices import DEVICES
from vla_ros.policy.choices import DTYPES
from vla_ros.policy.choices import HEADS
from vla_ros.policy.choices import PROMPTS
from vla_ros.policy.choices import QUANTIZATIONS
from vla_ros.policy.config import PolicyConfig


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what decides which policy is loaded and how it runs."""
    parser.add_argument('--checkpoint', required=True, metavar='DIR',
                        help='checkpoint folder, or hub id owner/name')
    parser.add_argument('--revision', metavar='COMMIT',
                        help='commit, branch or tag of a hub id; without it the cached commit')
    parser.add_argument('--unnorm-key', metavar='K',
                        help='dataset whose statistics scale the action')
    parser.add_argument('--device', default='auto', choices=DEVICES)
    parser.add_argument('--dtype', default='auto', choices=DTYPES,
                        help='auto: bfloat16 on CUDA, float32 on the CPU')
    parser.add_argument('--attention', default='auto', choices=ATTENTIONS)
    parser.add_argument('--quantization', default='none', choices=QUANTIZATIONS)
    parser.add_argument('--prompt', default='auto', choices=PROMPTS,
                        help='template; auto reads it from the checkpoint, raw takes the '
                             'instruction as the whole prompt')
    parser.add_argument('--head', default='auto', choices=HEADS,
                        help='how the action leaves the network; auto reads it from the folder')
    parser.add_argument('--chunk-length', type=int, default=0, metavar='N',
                        help='actions in a chunk, of an OFT checkpoint that does not say')
    parser.add_argument('--adapter', action='append', default=[], metavar='NAME=DIR',
                        type=_adapter, help='folder of a LoRA adapter; repeat for more')
    parser.add_argument('--active-adapter', metavar='NAME',
                        help='which of several adapters is used; the first, if none is named')
    parser.add_argument('--image-transform', action='append', default=[], metavar='NAME',
                        help=f'one of {", ".join(IMAGE_TRANSFORMS)}; repeat for more, in order')
    parser.add_argument('--action-transform', action='append', default=[], metavar='NAME',
                        help=f'one of {", ".join(GRIPPER_TRANSFORMS)}; repeat for more, in order')
    parser.add_argument('--datasets-file', metavar='FILE',
                        help='YAML file with descriptions of your own datasets')


def make_policy_config(arguments: argparse.Namespace, **settings: Any) -> PolicyConfig:
    """
    Convert the options to a configuration; ``settings`` go over them.

    :raises ParameterError: a value is not allowed.
    """
    return PolicyConfig(**{
        'checkpoint': arguments.checkpoint, 'revision': arguments.revision,
        'unnorm_key': arguments.unnorm_key,
        'device': arguments.device, 'dtype': arguments.dtype, 'attention': arguments.attention,
        'quantization': arguments.quantization, 'prompt': arguments.prompt,
        'head': arguments.head, 'chunk_length': arguments.chunk_length,
        'adapters': dict(arguments.adapter), 'adapter': arguments.active_adapter,
        'image_transforms': tuple(arguments.image_transform),
        'action_transforms': tuple(arguments.action_transform),
        'datasets_file': arguments.datasets_file, **settings})


def _adapter(text: str) -> tuple[str, str]:
    name, separator, folder = text.partition('=')
    if not (separator and name and folder):
        raise argparse.ArgumentTypeError(f'got {text!r}, it must be NAME=DIR')
    return name, folder
