# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The release of a trained checkpoint: its files and its model card."""

from collections.abc import Mapping
from dataclasses import dataclass
import json
import os
from pathlib import Path
import platform
import shutil
from typing import Any

from safetensors import safe_open

from vla_ros.errors import CheckpointError
from vla_ros.errors import VlaError

#: The files of a checkpoint; the state of the training is no part of it.
CHECKPOINT_FILES = (
    'added_tokens.json', 'config.json', 'dataset_statistics.json', 'generation_config.json',
    'loss.png', 'model.safetensors', 'preprocessor_config.json', 'special_tokens_map.json',
    'tokenizer.json', 'tokenizer_config.json')
#: Largest size of a released checkpoint, bytes.
MOST_BYTES = 12 * 2**20


class CardError(VlaError):
    """A checkpoint that cannot be shipped, or a success table that cannot be read."""


@dataclass(frozen=True)
class Provenance:
    """
    How a checkpoint was made, as its maker describes it.

    :param commands: the command lines, one per line.
    :param duration: of the training.
    :param machine: hardware of the training; empty for this machine.
    :param data: training data.
    """

    commands: str
    duration: str
    machine: str
    data: str


def ship(checkpoint: Path, out: Path, results: Path, provenance: Provenance) -> int:
    """
    Copy the files of a checkpoint, and write its README.md.

    :param results: file with the output of ``vla_eval --json``.
    :returns: bytes in all.
    :raises CheckpointError: a file is missing.
    :raises CardError: the results cannot be read, or it would be too large.
    """
    table = _read_results(results)
    missing = [name for name in CHECKPOINT_FILES if not (checkpoint / name).is_file()]
    if missing:
        raise CheckpointError(checkpoint, f'{missing[0]} is missing')
    size = sum((checkpoint / name).stat().st_size for name in CHECKPOINT_FILES)
    if size > MOST_BYTES:
        raise CardError(f'{checkpoint} has {size / 2**20:.1f} MiB; what ships may have '
                        f'{MOST_BYTES // 2**20}')
    _check_out(out)
    out.mkdir(parents=True, exist_ok=True)
    for name in CHECKPOINT_FILES:
        if checkpoint.resolve() != out.resolve():
            shutil.copyfile(checkpoint / name, out / name)
    (out / 'README.md').write_text(write_card(checkpoint, table, provenance), encoding='utf-8')
    return size


def _check_out(out: Path) -> None:
    """Make sure that nothing but an earlier release is overwritten."""
    card = out / 'README.md'
    if not out.exists() or not any(out.iterdir()):
        return
    if not card.is_file() or _TITLE not in card.read_text(encoding='utf-8', errors='replace'):
        raise CardError(f'--out {out} holds files that are no shipped checkpoint of this project; '
                        'give a new folder')


def write_card(checkpoint: Path, results: Mapping[str, Any], provenance: Provenance) -> str:
    """Write the text of a card."""
    with safe_open(checkpoint / 'model.safetensors', 'numpy') as stored:
        weights = sum(_count(stored.get_slice(key).get_shape()) for key in stored.keys())
    seeds = [episode['seed'] for episode in results.get('episodes', ())]
    span = f'the scenes of seeds {min(seeds)} to {max(seeds)}' if seeds else 'its own scenes'
    return _CARD.format(
        weights=f'{weights / 1e6:.2f}', size=_size(checkpoint), data=provenance.data,
        commands='\n'.join('    ' + line for line in provenance.commands.strip().splitlines()),
        took=provenance.duration, machine=provenance.machine or describe_machine(), span=span,
        rows='\n'.join(_row(row) for row in (*results['rows'], *results.get('colors', ()))))


def describe_machine() -> str:
    """Describe this machine in a few words."""
    model = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        names = [line.partition(':')[2].strip() for line in
                 info.read_text(encoding='utf-8').splitlines() if line.startswith('model name')]
        model = names[0] if names else model
    return f'{os.cpu_count()} cores of {model}, {platform.system()}'


def _read_results(path: Path) -> Mapping[str, Any]:
    try:
        results = json.loads(path.read_text(encoding='utf-8'))
        rows = [*results['rows'], *results.get('colors', ())]
        for row in rows:
            _row(row)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CardError(f'{path}: not what vla_eval --json prints ({error!r})') from None
    return results


def _row(row: Mapping[str, Any]) -> str:
    low, high = (f'{100 * bound:.1f}' for bound in row['interval'])
    rate = 100 * row['successes'] / row['episodes']
    return (f'| {row["task"]} | {row["episodes"]} | {row["successes"]} | {rate:.1f} % | '
            f'{low} to {high} % |')


def _size(checkpoint: Path) -> str:
    size = sum((checkpoint / name).stat().st_size for name in CHECKPOINT_FILES)
    return f'{size / 2**20:.1f}'


def _count(shape: list[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


_TITLE = '# A small VLA for the simulated arm'

_CARD = """---
# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0
license: apache-2.0
tags: [robotics, vision-language-action]
---

# A small VLA for the simulated arm

A model of the OpenVLA class in its official layout (two ViTs, a projector, a Llama, 256 action
bins), {weights} million weights, {size} MiB. From one image of the table and an instruction it
gives the positions that the six joints and the gripper are to go to. `unnorm_key` is
`vla_ros_tabletop`; the action space is `joint_position`, rad and m.

## How it was made

Data: {data}

{commands}

It took {took} on {machine}. The program is `vla_train` of vla_ros; docs/training.md says what it
does.

## How well it does

`vla_eval --json` through the node and DDS, on {span}, none of which training uses. What
happens to another block than the one that was named is a failure. The interval is Wilson's, 95 %.

| | episodes | successes | rate | interval |
| --- | --- | --- | --- | --- |
{rows}

## Limits

It knows this arm, this camera, this table, and three instructions: "reach the {{color}} block",
"push the {{color}} block", "pick up the {{color}} block" with red, green, blue and yellow. It has
not seen other words, other objects or real cameras. It sees single images and has no memory. It
was trained in simulation only and is made for demonstration and tests: do not let it
move a real robot.

## Licence

Apache-2.0, like vla_ros. No weights, images or data of others went into it.
"""
