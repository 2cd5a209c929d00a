# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The vision towers equal timm's; golden/towers.json was written by timm 1.0.31."""

import json

from goldens import assert_sample
from goldens import FOLDER
import numpy as np
import pytest

from vla_ros.util.tiny_checkpoint import words

torch = pytest.importorskip('torch')

from vla_ros.model.attention import attend_sdpa  # noqa: E402, I100
from vla_ros.model.config import PUBLISHED_TOWERS  # noqa: E402
from vla_ros.model.config import VitConfig  # noqa: E402
from vla_ros.model.vit import VisionTransformer  # noqa: E402

ROWS = json.loads((FOLDER / 'towers.json').read_text(encoding='utf-8'))


def values(tag, shape):
    """Return uniform numbers in [-0.4, 0.4), the same on every machine."""
    raw = words(tag).random_raw(int(np.prod(shape))) >> np.uint64(40)
    return torch.from_numpy(((raw / 2**24 - 0.5) * 0.8).astype(np.float32).reshape(shape))


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row['name'])
@torch.inference_mode()
def test_features_equal_those_of_timm(row):
    tower = VisionTransformer(VitConfig(**row['config']), attend_sdpa).eval()
    for name, parameter in tower.named_parameters():
        parameter.copy_(values(f'{row["name"]}|{name}', parameter.shape))
    side = row['config']['image_size']
    features = tower(values(row['name'], (2, 3, side, side)))
    assert_sample(features, row['features'], atol=1e-4)


@pytest.mark.parametrize('name', PUBLISHED_TOWERS)
def test_a_published_tower_has_as_many_parameters_as_in_timm(name):
    arguments = {key: value for key, value in PUBLISHED_TOWERS[name].items()
                 if key != 'global_pool'}
    size = 384 if name.endswith('384') else 336 if name.endswith('336') else 224
    with torch.device('meta'):
        tower = VisionTransformer(VitConfig(image_size=size, **arguments), attend_sdpa)
    # counted on timm's models, without the last block and what follows it
    expected = {'vit_large_patch14_reg4_dinov2': 290_630_656,
                'vit_so400m_patch14_siglip_224': 397_200_544,
                'vit_so400m_patch14_siglip_384': 397_745_440,
                'vit_large_patch14_clip_224': 290_581_504,
                'vit_large_patch14_clip_336': 290_909_184,
                'vit_large_patch16_224': 290_703_360}
    assert sum(parameter.numel() for parameter in tower.parameters()) == expected[name]
