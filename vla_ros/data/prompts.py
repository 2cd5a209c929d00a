# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The prompt templates that OpenVLA checkpoints were trained with."""

from vla_ros.data.instructions import check_instruction

# Both from the official code (openvla/openvla, experiments/robot/openvla_utils.py): the
# instruction is lower-cased and otherwise inserted as it is, spaces included.
TEMPLATES = {
    'openvla': 'In: What action should the robot take to {instruction}?\nOut:',
    'openvla-v01': (
        'A chat between a curious user and an artificial intelligence assistant. '
        "The assistant gives helpful, detailed, and polite answers to the user's questions. "
        'USER: What action should the robot take to {instruction}? ASSISTANT:'),
}


def choose_template(checkpoint_name: str, llm_backbone_id: str) -> str:
    """
    Name the template a checkpoint was trained with.

    The official code looks for "v01" in the path. The backbone gives the same when a folder was
    renamed: v01 is the one OpenVLA on Vicuna, which was trained on that conversation format.
    """
    v01 = 'v01' in checkpoint_name or llm_backbone_id.startswith('vicuna')
    return 'openvla-v01' if v01 else 'openvla'


def build_prompt(template: str, instruction: str) -> str:
    """
    Insert an instruction into a template; with ``raw`` the instruction is the prompt.

    :raises InstructionError: see :func:`vla_ros.data.instructions.check_instruction`.
    """
    check_instruction(instruction)
    if template == 'raw':
        return instruction
    return TEMPLATES[template].format(instruction=instruction.lower())
