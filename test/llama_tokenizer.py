# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The LLaMA tokenizer folder of an OpenVLA checkpoint, built when a test needs it.

Its vocabulary comes out of Meta's release, so it is not part of this repository: the npm package
llama-tokenizer-js carries it in a packed form, fetched once and kept under ``~/.cache/vla_ros``.
"""

import base64
import hashlib
import os
from pathlib import Path
import re
import shutil
import struct
import subprocess
import tarfile
import tempfile

import pytest

from vla_ros.util.tiny_tokenizer import write_llama_tokenizer

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
        built.mkdir()
        write_llama_tokenizer(built, *_unpack(_download(Path(scratch))), SPECIAL_TOKENS)
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


def _unpack(tarball: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the vocabulary, by id, and the merges, in order."""
    with tarfile.open(tarball) as archive:
        member = archive.extractfile('package/llama-tokenizer.js')
        assert member is not None
        script = member.read().decode('utf-8')
    vocabulary = _packed(script, 'llama_vocab_base64').decode('utf-8').split('\n')
    pairs = struct.iter_unpack('<2H', _packed(script, 'llama_merges_binary'))
    return vocabulary, [(vocabulary[a], vocabulary[b]) for a, b in pairs]


def _packed(script: str, name: str) -> bytes:
    found = re.search(name + r'\s*=\s*["\'`]([A-Za-z0-9+/=\s]+)["\'`]', script)
    assert found, f'{PACKAGE} has no {name}'
    return base64.b64decode(found.group(1))
