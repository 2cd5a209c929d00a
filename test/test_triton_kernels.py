# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The fused kernels under Triton's interpreter on the CPU, compiled, and without Triton."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

pytest.importorskip('torch')
pytest.importorskip('transformers')

CHECKS = Path(__file__).parent / 'interpreted_kernels.py'


def test_interpreted_kernels_compute_what_pytorch_computes():
    pytest.importorskip('triton', reason='Triton comes with PyTorch for CUDA')
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(CHECKS)],
        env={**os.environ, 'TRITON_INTERPRET': '1'}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    assert 'skipped' not in done.stdout


# Arguments of each kernel of a 7B model; a string is Triton's name of a type, anything else a
# constant. The interpreter takes code that the compiler refuses.
ROW = {'x': '*bf16', 'counters': '*i32', 'rows': 'i32', 'eps': 'fp32', 'out': '*bf16', 'ROWS': 8,
       'BLOCK': 512, 'COLUMNS': 4096, 'norm': None, 'scale': None, 'residual': None,
       'partial': None, 'SPLITS': 1, 'IS_GATED': False, 'weight': '*bf16'}
FP8 = {'weight': '*fp8e4nv', 'scale': '*fp32'}
SHARED = {'partial': '*fp32', 'SPLITS': 2, 'COLUMNS': 11008, 'residual': '*bf16'}
NORM = {'x': '*bf16', 'update': '*bf16', 'weight': '*bf16', 'total_out': '*bf16',
        'normed_out': '*bf16', 'dim': 'i32', 'eps': 'fp32', 'BLOCK': 4096}
COMPILED = {
    'norm and QKV': ('_gemv', {**ROW, 'norm': '*bf16'}),
    'norm and gated': ('_gemv', {**ROW, 'norm': '*bf16', 'IS_GATED': True}),
    'down, shared tiles': ('_gemv', {**ROW, **SHARED}),
    'gated, shared tiles': ('_gemv', {**ROW, **SHARED, 'residual': None, 'IS_GATED': True}),
    'output layer': ('_gemv', ROW),
    'fp8 norm and QKV': ('_gemv', {**ROW, **FP8, 'norm': '*bf16'}),
    'fp8 norm and gated': ('_gemv', {**ROW, **FP8, 'norm': '*bf16', 'IS_GATED': True}),
    'fp8 down, shared tiles': ('_gemv', {**ROW, **FP8, **SHARED}),
    'fp8 gated, other tiles': ('_gemv', {**ROW, **FP8, 'IS_GATED': True, 'ROWS': 16}),
    'norm of a sum': ('_add_norm', NORM),
    'norm': ('_add_norm', {**NORM, 'update': None, 'total_out': None}),
    'rotation': ('_rotate_store', {
        'heads': '*bf16', 'rotary': '*bf16', 'cache': '*bf16', 'positions': '*i64',
        'out': '*bf16', 'rows': 'i32', 'cache_rows': 'i32', 'queries': 'i32',
        'key_heads': 'i32', 'HALF': 64, 'BLOCK': 64}),
    'activation': ('_silu_multiply', {
        'gate_up': '*bf16', 'out': '*bf16', 'dim': 'i32', 'BLOCK': 1024})}


@pytest.mark.parametrize(('kernel', 'arguments'), COMPILED.values(), ids=COMPILED)
def test_every_kernel_compiles_for_a_hopper_gpu(kernel, arguments, monkeypatch, tmp_path):
    triton = pytest.importorskip('triton', reason='Triton comes with PyTorch for CUDA')
    from triton.backends.compiler import GPUTarget
    from vla_ros.model import gemv_kernels
    from vla_ros.model import triton_kernels
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    function = getattr(gemv_kernels, kernel, None) or getattr(triton_kernels, kernel)
    names = function.arg_names
    assert set(names) == set(arguments)
    source = triton.compiler.ASTSource(
        fn=function,
        signature={name: kind if isinstance(kind := arguments[name], str) else 'constexpr'
                   for name in names},
        constexprs={(names.index(name),): value for name, value in arguments.items()
                    if not isinstance(value, str)},
        # The attributes of a launch for tensors and for sizes divisible by 16.
        attrs={(number,): [['tt.divisibility', 16]] for number, name in enumerate(names)
               if str(arguments[name]).startswith(('*', 'i32'))})
    compiled = triton.compile(source, target=GPUTarget('cuda', 90, 32))
    ptx = compiled.asm['ptx']
    assert '.target sm_90' in ptx and compiled.asm['cubin']
    # Loads of 16 bytes are needed for the full memory bandwidth.
    assert kernel == '_rotate_store' or 'ld.global.v4' in ptx or '.v4.b32' in ptx
    if arguments.get('SPLITS', 1) > 1:
        assert 'atom.global.gpu.acq_rel.add' in ptx or 'atom.acq_rel.gpu.global.add' in ptx


def test_a_network_has_plain_operations_by_default():
    from test_engine import random_network
    from vla_ros.model.layer_operations import PlainOperations
    network = random_network(0)
    for part in network.modules():
        assert type(getattr(part, 'operations', None)) in (type(None), PlainOperations)
    assert type(network.language_model.layers[0].mlp.operations) is PlainOperations


def test_compiled_layers_give_the_tokens_of_plain_ones():
    from test_engine import cases
    from test_engine import COUNT
    from test_engine import random_network
    from vla_ros.model.engine import Engine
    from vla_ros.model.fused import compile_layers
    network = random_network(0)
    drawn = cases(network, 10)
    compile_layers(network, backend='eager')  # traced as for any backend, then run eagerly
    engine = Engine(network, 64, COUNT)
    for case in drawn[:3]:
        assert case.run(engine).token_ids == case.tokens
        assert case.run(engine, case.tokens).token_ids == case.tokens
