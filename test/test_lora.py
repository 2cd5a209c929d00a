# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""LoRA adapters give the logits of a merge by peft, and are switched."""

import json
import shutil

from goldens import CASES
from goldens import rgb
import numpy as np
import pytest

torch = pytest.importorskip('torch')
peft = pytest.importorskip('peft', reason='peft is the reference of these tests')

from safetensors.torch import load_file  # noqa: E402, I100
from safetensors.torch import save_file  # noqa: E402
from vla_ros.cli.predict import main  # noqa: E402
from vla_ros.errors import CheckpointError  # noqa: E402
from vla_ros.errors import ParameterError  # noqa: E402
from vla_ros.model.lora import read_adapter  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402

CASE = CASES[0]
LINEAR = ('q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj', 'qkv',
          'proj', 'fc1', 'fc2', 'fc3')
VARIANTS = {
    'plain': {'r': 8, 'lora_alpha': 4},
    'rslora': {'r': 8, 'lora_alpha': 4, 'use_rslora': True},
    'patterns': {'r': 8, 'lora_alpha': 4, 'rank_pattern': {'q_proj': 3, 'layers.1.mlp.up_proj': 5},
                 'alpha_pattern': {'v_proj': 9, 'fc1': 2}},
    'queries': {'r': 4, 'lora_alpha': 16, 'target_modules': ['q_proj', 'down_proj', 'lm_head']},
}


def linear_layers_of(weights):
    """Build modules with the official names that hold only the linear layers."""
    root = torch.nn.Module()
    for key, tensor in weights.items():
        *path, leaf = key.removesuffix('.weight').split('.')
        if not key.endswith('.weight') or tensor.ndim != 2 or leaf not in (*LINEAR, 'lm_head'):
            continue
        parent = root
        for name in path:
            if not hasattr(parent, name):
                parent.add_module(name, torch.nn.Module())
            parent = getattr(parent, name)
        linear = torch.nn.Linear(tensor.shape[1], tensor.shape[0], bias=False)
        linear.weight.data = tensor.clone()
        parent.add_module(leaf, linear)
    return root


@pytest.fixture(scope='session')
def adapters(golden_checkpoints, tmp_path_factory):
    """Write each variant by peft, and a checkpoint into which peft has merged it."""
    base = golden_checkpoints['float32']
    weights = load_file(base / 'model.safetensors')
    folders = {}
    for name, settings in VARIANTS.items():
        torch.manual_seed(len(folders))
        config = peft.LoraConfig(**{'target_modules': list(LINEAR), **settings})
        model = peft.get_peft_model(linear_layers_of(weights), config)
        for key, parameter in model.named_parameters():
            if 'lora_B' in key:
                torch.nn.init.normal_(parameter, std=0.05)
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder / 'adapter')
        merged = dict(weights)
        merged.update(model.merge_and_unload().state_dict())
        shutil.copytree(base, folder / 'merged')
        save_file({key: value.contiguous() for key, value in merged.items()},
                  folder / 'merged' / 'model.safetensors')
        folders[name] = folder
    return folders


def load(checkpoint, adapters=None, **settings):
    return load_policy(PolicyConfig(
        str(checkpoint), unnorm_key=CASE['unnorm_key'], device='cpu', warmup=False,
        clip_invalid=True, **{'adapters': adapters or {}, **settings}))


@torch.inference_mode()
def logits(policy):
    """Compute the logits of the whole sequence of the first golden case."""
    network = policy.engine.network
    ids = torch.tensor([*CASE['input_ids'], 29871])
    pixels = torch.from_numpy(policy.image_processor(rgb(CASE['image'])))[None]
    patches = network.embed_image(pixels.to(network.language_model.norm.weight.dtype))[0]
    text = network.language_model.embed_tokens(ids)
    sequence = torch.cat([text[:1], patches, text[1:]])[None]
    llama = network.language_model
    length = sequence.shape[1]
    hidden = llama(sequence, llama.rotary_table(length), llama.allocate_cache(length), 0)
    return llama.logits(hidden)


@pytest.mark.parametrize('name', VARIANTS)
def test_a_merged_adapter_gives_the_logits_of_a_merge_by_peft(golden_checkpoints, adapters, name):
    ours = logits(load(golden_checkpoints['float32'], {name: adapters[name] / 'adapter'}))
    reference = logits(load(adapters[name] / 'merged'))
    # The size of these logits is about 15: a relative 1e-5 is what float32 can keep.
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-5)
    assert (ours - logits(load(golden_checkpoints['float32']))).abs().max() > 0.1


def test_each_of_several_adapters_can_be_active(golden_checkpoints, adapters):
    names = ['patterns', 'queries', 'rslora']
    policy = load(golden_checkpoints['float32'],
                  {name: adapters[name] / 'adapter' for name in names}, adapter='queries')
    base = logits(load(golden_checkpoints['float32']))
    for name in ('queries', *names):
        reference = logits(load(adapters[name] / 'merged'))
        policy.select_adapter(name)
        # Added beside the base weights, not merged: other roundings, in logits of about 15.
        torch.testing.assert_close(logits(policy), reference, rtol=1e-5, atol=2e-4)
    policy.select_adapter(None)
    assert torch.equal(logits(policy), base)


def test_switching_adapters_changes_no_weight_and_allocates_no_memory(
        golden_checkpoints, adapters):
    names = ['plain', 'queries']
    policy = load(golden_checkpoints['bfloat16'],
                  {name: adapters[name] / 'adapter' for name in names}, dtype='bfloat16')
    first = {}
    for name in (*names, None):
        policy.select_adapter(name)
        first[name] = logits(policy)
    addresses = storage(policy)
    for number in range(20):
        policy.select_adapter([*names, None][number % 3])
    for name in (*names, None):
        policy.select_adapter(name)
        assert torch.equal(logits(policy), first[name]), name
    assert storage(policy) == addresses


def storage(policy):
    """Return address and size of every tensor of the network."""
    tensors = dict(policy.engine.network.named_parameters())
    tensors |= dict(policy.engine.network.named_buffers())
    return {name: (tensor.data_ptr(), tensor.nbytes) for name, tensor in tensors.items()}


def test_a_merged_adapter_leaves_no_second_copy_of_the_weights(golden_checkpoints, adapters):
    base = storage(load(golden_checkpoints['float32']))
    merged = storage(load(golden_checkpoints['float32'], {'plain': adapters['plain'] / 'adapter'}))
    assert {name: size for name, (_, size) in merged.items()} == \
        {name: size for name, (_, size) in base.items()}


def test_a_single_adapter_is_merged_and_cannot_be_switched_off(golden_checkpoints, adapters):
    policy = load(golden_checkpoints['float32'], {'plain': adapters['plain'] / 'adapter'})
    policy.select_adapter('plain')
    with pytest.raises(ParameterError, match='give several adapters'):
        policy.select_adapter(None)
    with pytest.raises(ParameterError, match='no adapter was loaded'):
        load(golden_checkpoints['float32']).select_adapter('plain')


def test_vla_predict_takes_adapters_by_name(golden_checkpoints, adapters, tmp_path, capsys):
    np.save(tmp_path / 'image.npy', rgb(CASE['image']))
    command = ['--checkpoint', str(golden_checkpoints['float32']), '--unnorm-key',
               CASE['unnorm_key'], '--device', 'cpu', '--instruction', CASE['instruction'],
               '--image', str(tmp_path / 'image.npy'), '--json', '--clip-invalid']
    expected = load(adapters['plain'] / 'merged').infer(
        Observation((rgb(CASE['image']),), CASE['instruction']))
    for extra in ([], ['--adapter', f'q={adapters["queries"] / "adapter"}', '--active-adapter',
                       'a']):
        assert main([*command, '--adapter', f'a={adapters["plain"] / "adapter"}', *extra]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result['token_ids'] == list(expected.token_ids)


@pytest.mark.parametrize(('change', 'named'), [
    ({'use_dora': True}, 'use_dora'),
    ({'peft_type': 'IA3'}, 'IA3'),
    ({'bias': 'all'}, 'bias'),
    ({'modules_to_save': ['lm_head']}, 'modules_to_save'),
    ({'init_lora_weights': 'pissa_niter_4'}, 'pissa'),
    ({'fan_in_fan_out': True}, 'fan_in_fan_out'),
])
def test_unsupported_lora_variants_are_refused_by_name(adapters, tmp_path, change, named):
    shutil.copytree(adapters['plain'] / 'adapter', tmp_path / 'a')
    config = json.loads((tmp_path / 'a' / 'adapter_config.json').read_text())
    (tmp_path / 'a' / 'adapter_config.json').write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=named):
        read_adapter(tmp_path / 'a')


def test_adapters_that_do_not_fit_are_refused(golden_checkpoints, adapters, tmp_path):
    shutil.copytree(adapters['plain'] / 'adapter', tmp_path / 'a')
    file = tmp_path / 'a' / 'adapter_model.safetensors'
    pairs = load_file(file)
    key = next(key for key in pairs if 'layers.0.self_attn.q_proj.lora_A' in key)
    save_file({**pairs, key: torch.zeros(8, 10)}, file)
    with pytest.raises(CheckpointError, match='the pair makes a matrix of'):
        load(golden_checkpoints['float32'], {'a': tmp_path / 'a'})
    save_file({name: value for name, value in pairs.items() if name != key}, file)
    with pytest.raises(CheckpointError, match='do not make a pair'):
        read_adapter(tmp_path / 'a')
    save_file({name.replace('layers.0', 'layers.9'): value for name, value in pairs.items()}, file)
    with pytest.raises(CheckpointError, match='no such matrix'):
        load(golden_checkpoints['float32'], {'a': tmp_path / 'a'})
    file.unlink()
    with pytest.raises(CheckpointError, match='adapter_model.safetensors is missing'):
        read_adapter(tmp_path / 'a')
    with pytest.raises(ParameterError, match='adapter'):
        PolicyConfig('x', adapters={'a': 'b'}, adapter='c')
