# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Quantised weights and OpenVLA-OFT on a GPU."""

from goldens import CASES
from goldens import rgb
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from test_gpu_graphs import join_captures  # noqa: E402, I100
from test_oft import by_name  # noqa: E402
from test_oft import KEY  # noqa: E402
from test_oft import observe  # noqa: E402
from vla_ros.errors import UnsupportedError  # noqa: E402
from vla_ros.model.quantize import Fp8Linear  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402

pytestmark = [pytest.mark.gpu,
              pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')]

CUDA = torch.device('cuda')


@torch.no_grad()
@pytest.mark.parametrize('rows', [1, 7, 16, 287])
def test_fp8_products_approximate_those_of_full_weights(rows):
    if torch.cuda.get_device_capability() < (8, 9):
        pytest.skip('this GPU has no 8-bit floating point')
    layer = torch.nn.Linear(256, 512, bias=False, device=CUDA, dtype=torch.bfloat16)
    x = 1000 * torch.randn(1, rows, 256, device=CUDA, dtype=torch.bfloat16)
    expected = layer(x).float()
    out = Fp8Linear(layer)(x).float()
    assert out.shape == expected.shape and torch.isfinite(out).all()
    assert (out - expected).abs().mean() < 0.05 * expected.abs().mean()


@pytest.mark.parametrize('quantization', ['none', 'fp8', 'int8', 'int4'])
def test_every_quantization_gives_the_same_tokens_with_and_without_a_draft(
        golden_checkpoints, quantization):
    try:
        policy = load_policy(PolicyConfig(
            str(golden_checkpoints['bfloat16']), 'golden_bridge', device='cuda',
            quantization=quantization, clip_invalid=True))
    except UnsupportedError as error:
        pytest.skip(str(error))
    for case in CASES[:3]:
        policy.reset()
        observation = Observation((rgb(case['image']),), case['instruction'])
        first, second = policy.infer(observation), policy.infer(observation)
        assert np.isfinite(first.margins).all()
        # In bfloat16 a tie of the two best tokens may go either way.
        differing = [position for position, (ours, theirs)
                     in enumerate(zip(first.token_ids, second.token_ids)) if ours != theirs]
        assert not differing or first.margins[differing[0]] < 0.1


@by_name
def test_chunks_of_every_head_are_the_official_ones(oft_checkpoint, case):
    policy = load_policy(PolicyConfig(
        str(oft_checkpoint), KEY, device='cuda', dtype='float32', head=case['head'],
        image_count=len(case['images']), use_proprio=bool(case['proprio']), clip_invalid=True))
    for _ in ('unrecorded', 'captured'):
        chunk = policy.infer(observe(case))
        np.testing.assert_allclose(chunk.normalized, case['normalized_actions'], rtol=0,
                                   atol=1e-3)
        join_captures()
    assert len(policy.decoder._prompt) in policy.decoder._captures.lengths()
