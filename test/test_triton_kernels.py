# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The fused kernels, under Triton's interpreter on the CPU, and where there is no Triton."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

pytest.importorskip('torch')
pytest.importorskip('transformers')

CHECKS = Path(__file__).parent / 'interpreted_kernels.py'


def test_the_kernels_compute_what_pytorch_computes():
    pytest.importorskip('triton', reason='Triton comes with PyTorch for CUDA')
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(CHECKS)],
        env={**os.environ, 'TRITON_INTERPRET': '1'}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    assert 'skipped' not in done.stdout


def test_kernels_are_plain_unless_they_are_asked_for():
    from test_engine import random_network
    from vla_ros.model.layer_operations import PlainOperations
    for layer in random_network(0).language_model.layers:
        assert {type(part.operations) for part in (layer, layer.self_attn, layer.mlp)} == {
            PlainOperations}


def test_compiled_layers_have_the_tokens_of_the_plain_way():
    from test_engine import cases
    from test_engine import COUNT
    from test_engine import random_network
    from vla_ros.model.engine import Engine
    from vla_ros.model.fused import compile_layers
    network = random_network(0)
    drawn = cases(network, 10)
    compile_layers(network, backend='eager')  # traced as for any backend, then run as it is
    engine = Engine(network, 64, COUNT)
    for case in drawn[:3]:
        assert case.run(engine).token_ids == case.tokens
        assert case.run(engine, case.tokens).token_ids == case.tokens
