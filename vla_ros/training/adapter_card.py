# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The model card of a fine-tuned adapter: its base, data, settings, errors, and how to run it."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

_CARD = """---
base_model: {base}
library_name: peft
tags: [robotics, vision-language-action, lora]
---

# LoRA adapter for {base}

Trained by `vla_train` of vla_ros on the dataset `{dataset}`: {episodes} episodes, {frames} frames.

| setting | value |
| --- | --- |
{settings}

## Result

{result}

## Use

{use}

`dataset_statistics.json` in this folder holds the scale of the actions under `{key}`. {crop}
What the actions mean (frame, units, period) is a property of the dataset: describe it in a file
for the parameter `datasets_file` before an arm moves.

These figures are errors on recorded frames. They do not say how often a robot succeeds.
"""


_USE = """\
    ros2 launch vla_ros vla_inference.launch.py checkpoint:={base} unnorm_key:={key} ...

with `adapters: [NAME=FOLDER]` in the parameter file."""

_USE_OFT = """    vla_train --merge FOLDER --finetune {base} --out CHECKPOINT
    ros2 launch vla_ros vla_inference.launch.py checkpoint:=CHECKPOINT unnorm_key:={key} ...

with `chunk_length: {chunk}` in the parameter file. The action head is part of a checkpoint, so the
adapter has to be merged first. Cameras, in this order: {cameras}."""


def write_adapter_card(base: str, dataset: str, episodes: int, frames: int,
                       plan: Mapping[str, Any], curve: Sequence[Mapping[str, float]],
                       step: int) -> str:
    """
    Write the text of a card.

    :param frames: that were trained on or held out.
    :param plan: the settings of the training, by name.
    :param curve: losses and validation errors of each step.
    :param step: of the saved weights, from 1.
    """
    row = curve[step - 1] if curve else {}
    numbers = [f'{name.replace("_", " ")} {value:.4f}' for name, value in row.items()]
    result = f'Step {step} of {len(curve)}: {", ".join(numbers)}.' if row else 'Not trained yet.'
    if not plan['validation']:
        result += ' No episodes were held out for validation.'
    crop = ('It was trained with random crops: run it with `image.transforms: [center_crop]`.'
            if plan['augment'] else '')
    settings = '\n'.join(f'| {name} | {value} |' for name, value in plan.items())
    use = _USE_OFT if 'chunk' in plan else _USE
    cameras = ', '.join(plan.get('cameras') or ()) or 'the first one of the dataset'
    key = plan.get('unnorm_key') or dataset
    use = use.format(base=base, key=key, chunk=plan.get('chunk'), cameras=cameras)
    return _CARD.format(base=base, dataset=dataset, key=key, episodes=episodes, frames=frames,
                        crop=crop, settings=settings, result=result, use=use)
