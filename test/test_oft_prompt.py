# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""OpenVLA-OFT: tokenization, timings, and adapters beside FiLM."""

import json

from goldens import rgb
from goldens import SPEC
import numpy as np
import pytest

from vla_ros.errors import CheckpointError
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy

torch = pytest.importorskip('torch')

from goldens import CASES  # noqa: E402, I100
from safetensors.torch import save_file  # noqa: E402
from vla_ros.model import oft  # noqa: E402
from vla_ros.model.timings import HostTimings  # noqa: E402
from vla_ros.model.tokenizer import PromptTokenizer  # noqa: E402

IMAGE = rgb(CASES[1]['image'])


def load(folder, **settings):
    return load_policy(PolicyConfig(str(folder), 'golden_libero_no_noops', device='cpu',
                                    warmup=False, use_proprio=False, chunk_length=8, **settings))


def test_a_repeated_instruction_is_tokenized_once(oft_checkpoint, monkeypatch):
    policy = load(oft_checkpoint)
    seen = []
    real = PromptTokenizer.encode
    monkeypatch.setattr(PromptTokenizer, 'encode',
                        lambda self, text: seen.append(text) or real(self, text))
    first = policy.infer(Observation((IMAGE,), 'pick up the cup'))
    again = policy.infer(Observation((IMAGE,), 'pick up the cup'))
    other = policy.infer(Observation((IMAGE,), 'pick up the bowl'))
    assert len(seen) == 2
    assert first.input_ids == again.input_ids != other.input_ids
    np.testing.assert_array_equal(first.actions, again.actions)


def test_stages_are_timed_by_the_timings_of_the_device(oft_checkpoint, monkeypatch):
    devices, clocks = [], []

    class Clock(HostTimings):

        def start(self):
            clocks.append(self)
            super().start()

    monkeypatch.setattr(oft, 'choose_timings', lambda device: devices.append(device) or Clock())
    policy = load(oft_checkpoint)
    chunks = [policy.infer(Observation((IMAGE,), 'go')) for _ in range(2)]
    assert devices == [torch.device('cpu')]
    assert len(clocks) == 2 and clocks[0] is clocks[1]
    for chunk in chunks:
        assert list(chunk.timings_ms) == ['preprocess', 'vision', 'prefill', 'head']


def write_adapter(folder, module, width, height):
    folder.mkdir()
    (folder / 'adapter_config.json').write_text(
        json.dumps({'peft_type': 'LORA', 'r': 2, 'lora_alpha': 4}))
    save_file({f'base_model.model.{module}.lora_A.weight': torch.ones(2, width),
               f'base_model.model.{module}.lora_B.weight': torch.ones(height, 2)},
              folder / 'adapter_model.safetensors')
    return str(folder)


def test_an_adapter_for_towers_of_a_film_module_file_is_refused(oft_checkpoint, tmp_path):
    """The module file of FiLM replaces the towers, so adapter weights for them would be lost."""
    import shutil
    from safetensors.torch import load_file
    from test_oft import film_modules
    folder = tmp_path / 'film'
    shutil.copytree(oft_checkpoint, folder)
    weights = load_file(folder / 'model.safetensors')
    part, _, _ = film_modules({key: value.double() for key, value in weights.items()}, rank=4)
    torch.save({key: value.float() for key, value in part.items()},
               folder / 'vision_backbone--1_checkpoint.pt')
    tower = next(iter(SPEC['tiny_timm'].values()))['embed_dim']
    text = SPEC['config']['text_config']['hidden_size']
    vision = write_adapter(tmp_path / 'vision', 'vision_backbone.featurizer.blocks.0.attn.proj',
                           tower, tower)
    language = write_adapter(tmp_path / 'words',
                             'language_model.model.layers.0.self_attn.q_proj', text, text)
    for adapters in ({'a': vision}, {'a': language, 'b': vision}):
        with pytest.raises(CheckpointError, match='vision towers.*vision_backbone--1_checkpoint'):
            load(folder, adapters=adapters)
    # The error advises an adapter without such weights.
    plain, adapted = load(folder), load(folder, adapters={'a': language})
    observation = Observation((IMAGE,), 'go')
    assert not np.array_equal(plain.infer(observation).actions,
                              adapted.infer(observation).actions)
