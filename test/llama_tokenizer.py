# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The LLaMA tokenizer folder of an OpenVLA checkpoint, built when a test needs it.

Its vocabulary comes out of Meta's release, so it is not part of this repository: the npm package
llama-tokenizer-js carries it in a packed form, fetched once and kept under ``~/.cache/vla_ros``.
"""

import base64
import hashlib
import json
import os
from pathlib import Path
import re
import shutil
import struct
import subprocess
import tarfile
import tempfile

import pytest

PACKAGE = 'llama-tokenizer-js@1.2.2'
TARBALL_SHA256 = 'ee83014ac8b379b16cf8d81e99ffcdb23dfade8c0d2e751bd06e7dc0b8476e72'
SPECIAL_TOKENS = {'<unk>': 0, '<s>': 1, '</s>': 2, '<PAD>': 32000}


def llama_tokenizer() -> Path:
    """Return the tokenizer folder, built if it is not there; skip the test if it cannot be."""
    cache = Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache')) / 'vla_ros'
    folder = cache / 'llama-tokenizer'
    if (folder / 'tokenizer.json').is_file():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # Built aside and renamed: a test run that is interrupted leaves no half-written tokenizer.
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        built = Path(scratch) / 'built'
        _write_folder(built, *_unpack(_download(Path(scratch))))
        try:
            built.rename(folder)
        except OSError:
            # Another test run was faster.
            if not (folder / 'tokenizer.json').is_file():
                raise
    return folder


def _download(folder: Path) -> Path:
    """Fetch the package with npm, or skip the test."""
    if shutil.which('npm') is None:
        pytest.skip(f'npm is not installed: it fetches the LLaMA vocabulary ({PACKAGE})')
    try:
        done = subprocess.run(['npm', 'pack', PACKAGE], cwd=folder, capture_output=True, text=True,
                              timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f'npm pack {PACKAGE} gave no reply within 120 s')
    if done.returncode:
        pytest.skip(f'npm pack {PACKAGE} failed: {done.stderr.strip().splitlines()[-1:]}')
    tarball = folder / done.stdout.split()[-1]
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    assert digest == TARBALL_SHA256, f'{PACKAGE} is not the package it was: sha256 {digest}'
    return tarball


def _unpack(tarball: Path) -> tuple[list[str], list[str]]:
    """Return the vocabulary, by id, and the merges, in order."""
    with tarfile.open(tarball) as archive:
        member = archive.extractfile('package/llama-tokenizer.js')
        assert member is not None
        script = member.read().decode('utf-8')
    vocabulary = _packed(script, 'llama_vocab_base64').decode('utf-8').split('\n')
    pairs = struct.iter_unpack('<2H', _packed(script, 'llama_merges_binary'))
    return vocabulary, [f'{vocabulary[a]} {vocabulary[b]}' for a, b in pairs]


def _packed(script: str, name: str) -> bytes:
    found = re.search(name + r'\s*=\s*["\'`]([A-Za-z0-9+/=\s]+)["\'`]', script)
    assert found, f'{PACKAGE} has no {name}'
    return base64.b64decode(found.group(1))


def _write_folder(folder: Path, vocabulary: list[str], merges: list[str]) -> None:
    """Write the four files in the layout that an OpenVLA checkpoint has."""
    folder.mkdir()
    _write(folder / 'tokenizer.json', _tokenizer(vocabulary, merges))
    _write(folder / 'tokenizer_config.json', _tokenizer_config())
    _write(folder / 'added_tokens.json', {'<PAD>': 32000})
    _write(folder / 'special_tokens_map.json',
           {'bos_token': _entry('<s>'), 'eos_token': _entry('</s>'),
            'pad_token': _entry('<PAD>'), 'unk_token': _entry('<unk>')})


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding='utf-8')


def _entry(content: str) -> dict:
    return {'content': content, 'lstrip': False, 'normalized': False, 'rstrip': False,
            'single_word': False}


def _tokenizer(vocabulary: list[str], merges: list[str]) -> dict:
    """Byte-pair encoding with byte fallback; BOS in front, no EOS, a space is ``▁``."""
    bos = {'SpecialToken': {'id': '<s>', 'type_id': 0}}
    text = {'Sequence': {'id': 'A', 'type_id': 0}}
    bos_of_pair = {'SpecialToken': {'id': '<s>', 'type_id': 1}}
    text_of_pair = {'Sequence': {'id': 'B', 'type_id': 1}}
    return {
        'version': '1.0',
        'truncation': None,
        'padding': None,
        'added_tokens': [{'id': number, **_entry(content), 'special': True}
                         for content, number in SPECIAL_TOKENS.items()],
        'normalizer': {'type': 'Sequence', 'normalizers': [
            {'type': 'Prepend', 'prepend': '▁'},
            {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '▁'}]},
        'pre_tokenizer': None,
        'post_processor': {
            'type': 'TemplateProcessing',
            'single': [bos, text],
            'pair': [bos, text, bos_of_pair, text_of_pair],
            'special_tokens': {'<s>': {'id': '<s>', 'ids': [1], 'tokens': ['<s>']}}},
        'decoder': {'type': 'Sequence', 'decoders': [
            {'type': 'Replace', 'pattern': {'String': '▁'}, 'content': ' '},
            {'type': 'ByteFallback'},
            {'type': 'Fuse'},
            {'type': 'Strip', 'content': ' ', 'start': 1, 'stop': 0}]},
        'model': {
            'type': 'BPE', 'dropout': None, 'unk_token': '<unk>',
            'continuing_subword_prefix': None, 'end_of_word_suffix': None, 'fuse_unk': True,
            'byte_fallback': True, 'vocab': {text: i for i, text in enumerate(vocabulary)},
            'merges': merges},
    }


def _tokenizer_config() -> dict:
    return {
        'add_bos_token': True,
        'add_eos_token': False,
        'added_tokens_decoder': {str(number): {**_entry(content), 'special': True}
                                 for content, number in SPECIAL_TOKENS.items()},
        'auto_map': {'AutoProcessor': 'processing_prismatic.PrismaticProcessor'},
        'bos_token': '<s>',
        'clean_up_tokenization_spaces': False,
        'eos_token': '</s>',
        'legacy': False,
        'model_max_length': 2048,
        'pad_token': '<PAD>',
        'padding_side': 'right',
        'processor_class': 'PrismaticProcessor',
        'sp_model_kwargs': {},
        'tokenizer_class': 'LlamaTokenizer',
        'unk_token': '<unk>',
        'use_default_system_prompt': False,
    }
