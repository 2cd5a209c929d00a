# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""OpenVLA-OFT gives the official outputs, or those of a plain reference implementation."""

import json
import shutil

from goldens import assert_sample
from goldens import GOLDENS
from goldens import rgb
from goldens import SPEC
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from plain_oft import PlainOft  # noqa: E402, I100
from safetensors.torch import load_file  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from vla_ros.cli.predict import main  # noqa: E402
from vla_ros.errors import CheckpointError  # noqa: E402
from vla_ros.errors import InvalidAction  # noqa: E402
from vla_ros.errors import ObservationError  # noqa: E402
from vla_ros.errors import ParameterError  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402

CASES = GOLDENS['oft']['cases']
KEY = 'golden_libero_no_noops'
HEAD = 'action_head--150000_checkpoint.pt'
PROJECTOR = 'proprio_projector--150000_checkpoint.pt'
by_name = pytest.mark.parametrize('case', CASES, ids=lambda case: case['name'])


@pytest.fixture
def copied_checkpoint(oft_checkpoint, tmp_path):
    """Link the checkpoint into a folder whose module files a test may change."""
    folder = tmp_path / 'copy'
    folder.mkdir()
    for path in oft_checkpoint.iterdir():
        if '--' in path.name:
            shutil.copy(path, folder)
        else:
            (folder / path.name).symlink_to(path)
    return folder


def load(folder, case, **changes):
    settings = {'unnorm_key': KEY, 'device': 'cpu', 'warmup': False, 'head': case['head'],
                'image_count': len(case['images']), 'clip_invalid': True,
                'use_proprio': case['proprio'] is not None, **changes}
    return load_policy(PolicyConfig(str(folder), **settings))


def observe(case):
    proprio = None if case['proprio'] is None else np.array(case['proprio'])
    return Observation(tuple(rgb(image) for image in case['images']), case['instruction'], proprio)


@by_name
def test_the_policy_gives_the_official_chunk(oft_checkpoint, case):
    policy = load(oft_checkpoint, case)
    assert policy.spec.action_shape == (8, 7)
    chunk = policy.infer(observe(case))
    assert chunk.prompt == case['prompt']
    assert list(chunk.input_ids) == case['input_ids']
    np.testing.assert_allclose(chunk.normalized, case['normalized_actions'], rtol=0, atol=2e-4)
    np.testing.assert_allclose(chunk.actions, case['actions'], rtol=0, atol=2e-4)
    assert list(chunk.token_ids) == np.ravel(case.get('token_ids', [])).tolist()


@by_name
def test_pixels_and_action_hidden_states_are_the_official_ones(oft_checkpoint, case):
    policy = load(oft_checkpoint, case)
    observation = observe(case)
    decoder = policy.decoder
    pixels = np.stack([policy._process_image(image) for image in observation.images])
    assert_sample(pixels.reshape(1, -1, *pixels.shape[2:]), case['pixel_values'], 1e-6)
    state = None
    if case['proprio']:
        state = policy.statistics.proprio.normalize(observation.proprio)
        np.testing.assert_allclose(state, case['proprio_normalized'], rtol=0, atol=1e-12)
    decoder.set_prompt((*case['input_ids'], 29871))
    decoder.observe(pixels, state)
    assert len(decoder.buffers.visual) == case['num_patch_and_proprio_tokens']
    hidden = decoder.predict().hidden
    assert_sample(hidden[None], case['action_hidden_states'], atol=2e-4)


@by_name
def test_vla_predict_gives_the_official_chunk(oft_checkpoint, case, tmp_path, capsys):
    command = ['--checkpoint', str(oft_checkpoint), '--unnorm-key', KEY, '--device', 'cpu',
               '--instruction', case['instruction'], '--head', case['head'], '--clip-invalid',
               '--json']
    for index, image in enumerate(case['images']):
        np.save(tmp_path / f'{index}.npy', rgb(image))
        command += ['--image', str(tmp_path / f'{index}.npy')]
    if case['proprio']:
        command.append('--proprio=' + ','.join(map(str, case['proprio'])))
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['action_shape'] == [8, 7]
    np.testing.assert_allclose(result['normalized_action'], case['normalized_actions'], rtol=0,
                               atol=2e-4)
    np.testing.assert_allclose(result['action'], case['actions'], rtol=0, atol=2e-4)


def test_without_an_action_head_the_language_model_decodes_in_parallel(copied_checkpoint):
    (copied_checkpoint / HEAD).unlink()
    case = CASES[5]
    policy = load(copied_checkpoint, case, head='auto')
    assert list(policy.infer(observe(case)).token_ids) == np.ravel(case['token_ids']).tolist()


def test_a_token_that_is_no_action_makes_the_chunk_invalid(oft_checkpoint):
    case = CASES[4]
    with pytest.raises(InvalidAction) as raised:
        load(oft_checkpoint, case, clip_invalid=False).infer(observe(case))
    assert raised.value.positions == (3, 6)
    assert list(raised.value.token_ids) == np.ravel(case['token_ids']).tolist()


def test_a_module_file_may_be_safetensors_without_prefix(copied_checkpoint):
    case = CASES[2]
    for name in (HEAD, PROJECTOR):
        stored = torch.load(copied_checkpoint / name, weights_only=True)
        (copied_checkpoint / name).unlink()
        save_file({key.removeprefix('module.'): value for key, value in stored.items()},
                  (copied_checkpoint / name).with_suffix('.safetensors'))
    chunk = load(copied_checkpoint, case).infer(observe(case))
    np.testing.assert_allclose(chunk.actions, case['actions'], rtol=0, atol=2e-4)


def test_two_files_of_a_module_are_an_error(copied_checkpoint):
    shutil.copy(copied_checkpoint / HEAD, copied_checkpoint / 'action_head--100000_checkpoint.pt')
    with pytest.raises(CheckpointError, match='2 files for action_head: .*100000.*150000'):
        load(copied_checkpoint, CASES[0])


def test_a_module_file_that_would_run_code_is_refused(copied_checkpoint):
    class CodeOnUnpickling:

        def __reduce__(self):
            return (pytest.fail, ('code of a pickle ran',))
    torch.save({'module.fc1.weight': CodeOnUnpickling()}, copied_checkpoint / PROJECTOR)
    with pytest.raises(CheckpointError, match='proprio_projector.*cannot be read'):
        load(copied_checkpoint, CASES[1])


def test_truncated_module_files_and_other_shapes_are_errors(copied_checkpoint):
    whole = (copied_checkpoint / HEAD).read_bytes()
    (copied_checkpoint / HEAD).write_bytes(whole[:len(whole) // 2])
    with pytest.raises(CheckpointError, match='cannot be read'):
        load(copied_checkpoint, CASES[0])
    torch.save({'module.model.fc2.weight': torch.zeros(7, 96)}, copied_checkpoint / HEAD)
    with pytest.raises(CheckpointError, match='lacks'):
        load(copied_checkpoint, CASES[0])
    torch.save({'weight': torch.zeros(7, 96)}, copied_checkpoint / HEAD)
    with pytest.raises(CheckpointError, match='neither an L1 head nor a diffusion head'):
        load(copied_checkpoint, CASES[0])


def test_an_observation_that_does_not_fit_is_refused_with_the_difference(oft_checkpoint):
    policy = load(oft_checkpoint, CASES[2])
    good = observe(CASES[2])
    with pytest.raises(ObservationError, match='image_count is 2, got 1'):
        policy.infer(Observation(good.images[:1], 'stop', good.proprio))
    with pytest.raises(ObservationError, match='a state of 8 numbers .* got none'):
        policy.infer(Observation(good.images, 'stop'))
    with pytest.raises(ObservationError, match='got 7'):
        policy.infer(Observation(good.images, 'stop', good.proprio[:7]))
    with pytest.raises(ObservationError, match='not finite'):
        policy.infer(Observation(good.images, 'stop', good.proprio * np.nan))
    with pytest.raises(ObservationError, match='this checkpoint takes 512'):
        policy.infer(Observation(good.images, 'x ' * 600, good.proprio))


def test_the_chunk_carries_the_period_of_its_dataset(copied_checkpoint, tmp_path):
    own = tmp_path / 'own.yaml'
    own.write_text(f'{KEY}: {{period_s: 0.05}}')
    chunk = load(copied_checkpoint, CASES[0], datasets_file=str(own)).infer(observe(CASES[0]))
    assert chunk.period_s == 0.05
    assert load(copied_checkpoint, CASES[0]).infer(observe(CASES[0])).period_s is None


def test_image_and_action_transforms_wrap_the_policy(oft_checkpoint):
    case = CASES[0]
    image = rgb(case['images'][0])
    policy = load(oft_checkpoint, case, image_transforms=('rotate_180',),
                  action_transforms=('gripper_to_signed', 'gripper_invert'))
    chunk = policy.infer(Observation((image[::-1, ::-1],), case['instruction']))
    actions = np.array(case['actions'])
    np.testing.assert_allclose(chunk.actions[:, :6], actions[:, :6], rtol=0, atol=2e-4)
    np.testing.assert_allclose(chunk.actions[:, 6], 1 - 2 * actions[:, 6], rtol=0, atol=4e-4)


def test_a_warm_up_does_not_change_the_first_result(oft_checkpoint):
    chunk = load(oft_checkpoint, CASES[2], warmup=True).infer(observe(CASES[2]))
    np.testing.assert_allclose(chunk.actions, CASES[2]['actions'], rtol=0, atol=2e-4)


@pytest.fixture(scope='session')
def stored(oft_checkpoint):
    """Return the tensors of the checkpoint and of its module files."""
    parts = {part: {key.removeprefix('module.'): value for key, value in
                    torch.load(next(oft_checkpoint.glob(f'{part}--*')), weights_only=True).items()}
             for part in ('action_head', 'proprio_projector')}
    return load_file(oft_checkpoint / 'model.safetensors'), parts


def pixels_of(policy, case):
    return np.stack([policy._process_image(image) for image in observe(case).images])


@pytest.mark.parametrize('case', [CASES[0], CASES[2]], ids=lambda case: case['name'])
def test_the_plain_reference_gives_the_official_actions(oft_checkpoint, stored, case):
    plain = PlainOft(SPEC, *stored)
    pixels = pixels_of(load(oft_checkpoint, case), case)
    out = plain.regress(pixels, [*case['input_ids'], 29871], case['proprio_normalized'], (8, 7))
    np.testing.assert_allclose(out, case['normalized_actions'], rtol=0, atol=2e-4)


def film_modules(weights, rank):
    """Make a vision_backbone file as training saves it, with FiLM and unmerged LoRA."""
    generator = torch.Generator().manual_seed(7)

    def draw(*shape):
        return torch.randn(shape, generator=generator) * 0.05

    part, merged, film = {}, dict(weights), {}
    for key, tensor in weights.items():
        if not key.startswith('vision_backbone.'):
            continue
        name = f'vision_backbone.{key.removeprefix("vision_backbone.")}'
        tower_name, _, rest = key.removeprefix('vision_backbone.').partition('.')
        if rest.startswith('blocks.'):
            _, index, inner = rest.split('.', 2)
            name = f'vision_backbone.{tower_name}.blocks.{index}.block.{inner}'
            if inner.endswith(('qkv.weight', 'proj.weight', 'fc1.weight', 'fc2.weight')):
                stem = name.removesuffix('.weight')
                down, up = draw(rank, tensor.shape[1]), draw(tensor.shape[0], rank)
                part[f'{stem}.base_layer.weight'] = tensor
                part[f'{stem}.lora_A.default.weight'] = down
                part[f'{stem}.lora_B.default.weight'] = up
                merged[key] = tensor + min(rank, 16) / rank * up @ down
                continue
            if inner.endswith(('qkv.bias', 'proj.bias', 'fc1.bias', 'fc2.bias')):
                name = name.replace('.bias', '.base_layer.bias')
        part[name] = tensor
    for tower_name, timm in zip(('featurizer', 'fused_featurizer'),
                                SPEC['config']['timm_model_ids']):
        size = SPEC['tiny_timm'][timm]
        for index in range(size['depth']):
            for kind in ('scale', 'shift'):
                key = f'vision_backbone.{tower_name}.blocks.{index}.{kind}'
                film[f'{key}.weight'] = draw(size['embed_dim'], 96)
                film[f'{key}.bias'] = draw(size['embed_dim'])
    return part | film, merged, {key: value.double() for key, value in film.items()}


def test_film_modulates_the_vision_towers_by_the_instruction(copied_checkpoint, stored):
    weights, parts = stored
    part, merged, film = film_modules(weights, rank=32)
    torch.save(part, copied_checkpoint / 'vision_backbone--150000_checkpoint.pt')
    case = CASES[2]
    policy = load(copied_checkpoint, case)
    chunk = policy.infer(observe(case))
    plain = PlainOft(SPEC, merged, parts, film)
    expected = plain.regress(pixels_of(policy, case), [*case['input_ids'], 29871],
                             case['proprio_normalized'], (8, 7))
    np.testing.assert_allclose(chunk.normalized, expected, rtol=0, atol=2e-4)
    assert np.abs(chunk.normalized - case['normalized_actions']).max() > 0.01, 'FiLM did nothing'


def test_a_film_module_file_that_lacks_a_tensor_is_an_error(copied_checkpoint, stored):
    part, _, _ = film_modules(stored[0], rank=4)
    del part['vision_backbone.featurizer.blocks.0.scale.weight']
    torch.save(part, copied_checkpoint / 'vision_backbone--150000_checkpoint.pt')
    with pytest.raises(CheckpointError, match='lacks 1 tensors: featurizer.modulations.0.scale'):
        load(copied_checkpoint, CASES[0])


def write_diffusion_modules(copied_checkpoint, parts):
    # The first step divides by 0.001, so the output of an untrained head would dominate.
    head = {'noise_predictor.mlp_resnet.' + key.removeprefix('model.'):
            value * 0.03 if 'fc2' in key else value
            for key, value in parts['action_head'].items()}
    generator = torch.Generator().manual_seed(3)
    noisy = {'fc1.weight': torch.randn(96, 1, generator=generator),
             'fc1.bias': torch.randn(96, generator=generator) * 0.1,
             'fc2.weight': torch.randn(96, 96, generator=generator) * 0.1,
             'fc2.bias': torch.randn(96, generator=generator) * 0.1}
    torch.save({f'module.{key}': value for key, value in head.items()}, copied_checkpoint / HEAD)
    torch.save({f'module.{key}': value for key, value in noisy.items()},
               copied_checkpoint / 'noisy_action_projector--150000_checkpoint.pt')
    return {**parts, 'action_head': head, 'noisy_action_projector': noisy}


def test_diffusion_equals_the_plain_sampler_and_is_reproducible(copied_checkpoint, stored):
    parts = write_diffusion_modules(copied_checkpoint, stored[1])
    case = CASES[1]
    policy = load(copied_checkpoint, case, head='auto')
    assert policy.kind == 'diffusion'
    chunk = policy.infer(observe(case))
    expected = PlainOft(SPEC, stored[0], parts).diffuse(
        pixels_of(policy, case), [*case['input_ids'], 29871], case['proprio_normalized'],
        policy.decoder._noise)
    np.testing.assert_allclose(chunk.normalized, expected, rtol=0, atol=5e-4)
    assert np.abs(chunk.normalized).max() <= 1.0
    assert np.array_equal(policy.infer(observe(case)).actions, chunk.actions)


def test_a_diffusion_head_without_its_projector_is_an_error(copied_checkpoint, stored):
    write_diffusion_modules(copied_checkpoint, stored[1])
    (copied_checkpoint / 'noisy_action_projector--150000_checkpoint.pt').unlink()
    with pytest.raises(CheckpointError, match='noisy_action_projector'):
        load(copied_checkpoint, CASES[1], head='auto')


@pytest.mark.parametrize(('head', 'named'), [('diffusion', 'of kind l1, not diffusion'),
                                             ('tokens', 'does not decode token by token')])
def test_a_head_that_the_checkpoint_lacks_is_refused(oft_checkpoint, head, named):
    with pytest.raises(CheckpointError, match=named):
        load(oft_checkpoint, CASES[0], head=head)


def test_several_images_are_refused_without_an_oft_checkpoint(golden_checkpoints):
    with pytest.raises(ParameterError, match='this checkpoint is not OFT'):
        load_policy(PolicyConfig(str(golden_checkpoints['float32']), unnorm_key='golden_bridge',
                                 device='cpu', image_count=2))
