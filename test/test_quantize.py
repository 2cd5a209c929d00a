# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Quantized weights: rounding, unsupported settings, memory, and equality of tokens."""

from goldens import CASES
from goldens import rgb
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from safetensors.torch import save_file  # noqa: E402, I100
from vla_ros.errors import InvalidAction  # noqa: E402
from vla_ros.errors import UnsupportedError  # noqa: E402
from vla_ros.model.lora import AdaptedLinear  # noqa: E402
from vla_ros.model.memory import memory_by_module  # noqa: E402
from vla_ros.model.memory import memory_of_buffers  # noqa: E402
from vla_ros.model.quantize import check_quantization  # noqa: E402
from vla_ros.model.quantize import Fp8Linear  # noqa: E402
from vla_ros.model.quantize import Int4Linear  # noqa: E402
from vla_ros.model.quantize import Int8Linear  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402

CPU, CUDA = torch.device('cpu'), torch.device('cuda')


def linear(rows=48, columns=96):
    generator = torch.Generator().manual_seed(1)
    layer = torch.nn.Linear(columns, rows, bias=False)
    layer.weight.data = torch.randn(rows, columns, generator=generator)
    layer.weight.data[3] = 0.0  # a row without a scale of its own
    return layer, torch.randn(2, 5, columns, generator=generator)


@torch.no_grad()
@pytest.mark.parametrize(('kind', 'steps', 'group'), [(Int8Linear, 127, 96), (Int4Linear, 7, 32)])
def test_the_error_of_a_quantized_weight_is_at_most_half_a_step(kind, steps, group):
    layer, x = linear()
    small = kind(layer)
    eye = torch.eye(layer.in_features)
    widened = small(eye).T
    groups = layer.weight.view(layer.out_features, -1, group).abs().amax(2)
    half = (groups / steps / 2).repeat_interleave(group, 1)
    assert ((widened - layer.weight).abs() <= half * 1.001 + 1e-6).all()
    torch.testing.assert_close(small(x), x @ widened.T, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_fp8_scales_large_weights_and_inputs_into_its_range():
    layer, x = linear()
    layer.weight.data[5] *= 1e6
    small = Fp8Linear(layer)
    assert small.weight.dtype == torch.float8_e4m3fn
    x = x.to(torch.bfloat16)
    x[0, 2] *= 1e6  # a large row must not round the others to zero
    try:
        out = small(x)
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f'this PyTorch has no 8-bit float product on a CPU: {error}')
    expected = x.float() @ layer.weight.T
    sizes = x.float().norm(dim=-1)[..., None] * layer.weight.norm(dim=1)
    assert ((out.float() - expected).abs() <= 0.03 * sizes).all()


def test_an_unsupported_quantization_is_refused_before_loading(monkeypatch):
    with pytest.raises(UnsupportedError, match='fp8.*use int8 or int4 on a CPU'):
        load_policy(PolicyConfig('/nowhere', device='cpu', quantization='fp8'))
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (8, 6))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'RTX 3090')
    with pytest.raises(UnsupportedError, match='RTX 3090 has no 8-bit floating point'):
        check_quantization('fp8', CUDA, torch.bfloat16)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (8, 9))
    check_quantization('fp8', CUDA, torch.bfloat16)
    monkeypatch.setattr(torch, '__version__', torch.torch_version.TorchVersion('2.6.1+cu126'))
    with pytest.raises(UnsupportedError, match='install torch 2.7 or later'):
        check_quantization('fp8', CUDA, torch.bfloat16)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    check_quantization('fp8', CUDA, torch.bfloat16)
    with pytest.raises(UnsupportedError, match='use dtype bfloat16'):
        check_quantization('fp8', CUDA, torch.float32)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    for name in ('int8', 'int4'):
        check_quantization(name, CPU, torch.float32)
        with pytest.raises(UnsupportedError, match='bitsandbytes is not installed'):
            check_quantization(name, CUDA, torch.bfloat16)


@pytest.fixture(scope='module')
def observations():
    return [Observation((rgb(case['image']),), case['instruction']) for case in CASES]


def load(folder, quantization, **settings):
    return load_policy(PolicyConfig(
        str(folder), unnorm_key='golden_bridge', device='cpu', warmup=False, clip_invalid=True,
        quantization=quantization, **settings))


@pytest.mark.parametrize(('name', 'share'), [('int8', 0.27), ('int4', 0.16)])
def test_a_quantized_checkpoint_needs_less_memory_and_decodes_its_rounded_weights(
        golden_checkpoints, observations, name, share):
    folder = golden_checkpoints['float32']
    wide, small = load(folder, 'none'), load(folder, name)
    assert small.spec.quantization == name
    networks = wide.engine.network, small.engine.network
    before, after = (memory_by_module(network) for network in networks)
    assert (before['vision'], before['projector']) == (after['vision'], after['projector'])
    layers = [sum(tensor.nbytes for tensor in (*network.language_model.layers.parameters(),
                                               *network.language_model.layers.buffers()))
              for network in networks]
    assert layers[1] < share * layers[0]
    assert memory_of_buffers(small.engine.buffers) == memory_of_buffers(
        wide.engine.buffers) > 0
    # A random network amplifies rounding, so its tokens are compared with those of wide weights
    # that were rounded in the same way.
    with torch.no_grad():
        for path, layer in networks[1].language_model.layers.named_modules():
            if isinstance(layer, (Int8Linear, Int4Linear)):
                weight = networks[0].language_model.layers.get_submodule(path).weight
                weight.copy_(layer(torch.eye(weight.shape[1])).T)
    expected, found = ([infer(policy, observation) for observation in observations]
                       for policy in (wide, small))
    assert equal_tokens(expected, found) == sum(len(tokens) for tokens, _ in expected) == 70
    errors = [np.abs(ours - theirs).mean() for (_, ours), (_, theirs) in zip(expected, found)
              if ours is not None and theirs is not None]
    assert np.mean(errors) == 0.0
    full = load(folder, 'none')
    assert equal_tokens([infer(full, observation) for observation in observations], found) < 70


def infer(policy, observation):
    """Return the tokens, and the normalized action if they are valid."""
    try:
        chunk = policy.infer(observation)
    except InvalidAction as error:
        return error.token_ids, None
    return chunk.token_ids, chunk.normalized


def equal_tokens(expected, found):
    return sum(a == b for (ours, _), (theirs, _) in zip(expected, found)
               for a, b in zip(ours, theirs))


def test_a_merged_adapter_is_quantized_and_several_keep_full_precision(
        golden_checkpoints, tmp_path):
    names = ('a', 'b')
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / 'adapter_config.json').write_text(
            '{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
        key = 'base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_'
        save_file({f'{key}A.weight': torch.ones(2, 96), f'{key}B.weight': torch.ones(96, 2)},
                  tmp_path / name / 'adapter_model.safetensors')
    folder = golden_checkpoints['float32']
    merged = load(folder, 'int8', adapters={'a': str(tmp_path / 'a')})
    assert isinstance(merged.engine.network.language_model.layers[0].self_attn.qkv_proj,
                      Int8Linear)
    several = load(folder, 'int8', adapters={name: str(tmp_path / name) for name in names})
    layer = several.engine.network.language_model.layers[0].self_attn.qkv_proj
    assert isinstance(layer, AdaptedLinear) and isinstance(layer.base, Int8Linear)
    several.select_adapter('b')
    several.select_adapter(None)
    assert not layer.up.any()
