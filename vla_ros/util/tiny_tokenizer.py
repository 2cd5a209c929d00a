# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
A tokenizer of the Llama kind that anyone may pass on: its words are this project's own.

It is byte-pair encoding with byte fallback, like the tokenizer of the published checkpoints, with
a vocabulary built by hand. Every beginning of every known word is a piece, and one merge leads
from each to the next; so a known word is one token, an unknown one its longest known beginning
followed by characters, and anything else the bytes of its UTF-8.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import json
from pathlib import Path
import re
from typing import Any

#: Instructions of the demo; their words are tokens.
INSTRUCTIONS = (
    'pick up the cup',
    'put the spoon on the plate',
    'move the arm away from the table',
)

_OTHER_TEXTS = (
    'In: What action should the robot take to do something?',
    'open the gripper and close the drawer',
    'place the red block in the bowl and the blue block into the box',
    'push the green button to the left, then pull the yellow lever to the right',
    'lift the small bottle off the large tray',
    'grasp the black pen near the white paper',
    'pour the coffee into the mug, slowly',
    'go back home and wait there',
    'stack it under or over its can',
)

_SPECIAL = ('<unk>', '<s>', '</s>')
# A space is written as this piece, and every text starts with one.
_SPACE = '▁'


def text_pieces(texts: Sequence[str] = ()) -> list[str]:
    """
    Return the vocabulary that text is made of, by id.

    :param texts: their words are known, too.
    """
    pieces = [*_SPECIAL, *(f'<0x{byte:02X}>' for byte in range(256)), _SPACE]
    pieces += [chr(code) for code in range(ord('!'), ord('~') + 1)]
    return pieces + [left + right for left, right in _merges(texts)]


def write_tokenizer(folder: Path, action_tokens: int, texts: Sequence[str] = ()) -> int:
    """
    Write the tokenizer files of a checkpoint.

    :param action_tokens: how many ids after those of text stand for actions; no text has them.
    :param texts: their words are tokens, too.
    :returns: the id of ``<PAD>``, which follows the last action token.
    """
    vocabulary = text_pieces(texts)
    vocabulary += [f'<action {number}>' for number in reversed(range(action_tokens))]
    special = {piece: number for number, piece in enumerate(_SPECIAL)}
    special['<PAD>'] = len(vocabulary)
    write_llama_tokenizer(folder, vocabulary, _merges(texts), special)
    return special['<PAD>']


def write_llama_tokenizer(folder: Path, vocabulary: Sequence[str],
                          merges: Iterable[tuple[str, str]], special: Mapping[str, int]) -> None:
    """
    Write the files of a Llama tokenizer in the layout of an OpenVLA checkpoint.

    :param vocabulary: pieces by id.
    :param merges: pairs of pieces, in order.
    :param special: ids of the special tokens, ``<PAD>`` among them.
    """
    _write(folder / 'tokenizer.json', _tokenizer(vocabulary, merges, special))
    _write(folder / 'tokenizer_config.json', _tokenizer_config(special))
    _write(folder / 'added_tokens.json', {'<PAD>': special['<PAD>']})
    _write(folder / 'special_tokens_map.json', _special_tokens_map())


def _merges(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return the merges that build each known word from its left end, in order."""
    words = re.findall(r'[A-Za-z]+', ' '.join([*INSTRUCTIONS, *_OTHER_TEXTS, *texts]))
    steps = ((_SPACE + word[:end], word[end]) for word in words for end in range(len(word)))
    return list(dict.fromkeys(steps))


def _tokenizer(vocabulary: Sequence[str], merges: Iterable[tuple[str, str]],
               special: Mapping[str, int]) -> dict[str, Any]:
    """Return the content of tokenizer.json: BOS in front, no EOS."""
    bos = {'SpecialToken': {'id': '<s>', 'type_id': 0}}
    text = {'Sequence': {'id': 'A', 'type_id': 0}}
    return {
        'version': '1.0',
        'truncation': None,
        'padding': None,
        'added_tokens': [{'id': number, **_entry(piece), 'special': True}
                         for piece, number in special.items()],
        'normalizer': {'type': 'Sequence', 'normalizers': [
            {'type': 'Prepend', 'prepend': _SPACE},
            {'type': 'Replace', 'pattern': {'String': ' '}, 'content': _SPACE}]},
        'pre_tokenizer': None,
        'post_processor': {
            'type': 'TemplateProcessing', 'single': [bos, text], 'pair': [bos, text, bos, text],
            'special_tokens': {'<s>': {'id': '<s>', 'ids': [special['<s>']],
                                       'tokens': ['<s>']}}},
        'decoder': {'type': 'Sequence', 'decoders': [
            {'type': 'Replace', 'pattern': {'String': _SPACE}, 'content': ' '},
            {'type': 'ByteFallback'},
            {'type': 'Fuse'},
            {'type': 'Strip', 'content': ' ', 'start': 1, 'stop': 0}]},
        'model': {
            'type': 'BPE', 'dropout': None, 'unk_token': '<unk>',
            'continuing_subword_prefix': None, 'end_of_word_suffix': None, 'fuse_unk': True,
            'byte_fallback': True, 'vocab': {piece: i for i, piece in enumerate(vocabulary)},
            'merges': [f'{left} {right}' for left, right in merges]},
    }


def _tokenizer_config(special: Mapping[str, int]) -> dict[str, Any]:
    """Return the content of tokenizer_config.json, keyed as in the published checkpoints."""
    return {
        'add_bos_token': True,
        'add_eos_token': False,
        'added_tokens_decoder': {str(number): {**_entry(piece), 'special': True}
                                 for piece, number in special.items()},
        'bos_token': '<s>',
        'clean_up_tokenization_spaces': False,
        'eos_token': '</s>',
        'legacy': False,
        'model_max_length': 2048,
        'pad_token': '<PAD>',
        'padding_side': 'right',
        'sp_model_kwargs': {},
        'tokenizer_class': 'LlamaTokenizer',
        'unk_token': '<unk>',
        'use_default_system_prompt': False,
    }


def _special_tokens_map() -> dict[str, Any]:
    names = {'bos_token': '<s>', 'eos_token': '</s>', 'pad_token': '<PAD>', 'unk_token': '<unk>'}
    return {name: _entry(piece) for name, piece in names.items()}


def _entry(piece: str) -> dict[str, Any]:
    return {'content': piece, 'lstrip': False, 'normalized': False, 'rstrip': False,
            'single_word': False}


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + '\n', encoding='utf-8')
