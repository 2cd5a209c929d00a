# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

import subprocess
import sys

import pytest

torch = pytest.importorskip('torch')

from torch import nn  # noqa: E402, I100

from vla_ros.model.meta_device import materialize  # noqa: E402
from vla_ros.model.meta_device import on_meta_device  # noqa: E402

# In a process of its own: this one may have imported everything already.
LOADED = """
import sys
import torch
from torch import nn
from vla_ros.model.meta_device import materialize, on_meta_device
with on_meta_device():
    module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.Conv2d(3, 4, 2))
materialize(module, torch.device('cpu'), torch.bfloat16)
print(sorted({'sympy', 'torch._dynamo'} & sys.modules.keys()))
"""


def test_a_module_is_built_and_materialized_without_importing_torchs_compiler():
    """The import of the compiler takes as long as that of torch."""
    done = subprocess.run([sys.executable, '-c', LOADED], capture_output=True, text=True,
                          timeout=120, check=False)
    assert (done.stdout, done.returncode) == ('[]\n', 0), done.stderr


def test_a_module_on_the_meta_device_has_shapes_and_gets_memory_when_materialized():
    before = torch.get_rng_state()
    with on_meta_device():
        module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    assert all(parameter.is_meta for parameter in module.parameters())
    materialize(module, torch.device('cpu'), torch.bfloat16)
    assert torch.equal(torch.get_rng_state(), before)
    assert [tuple(parameter.shape) for parameter in module.parameters()] == [(5, 4), (3, 4), (3,)]
    for parameter in module.parameters():
        assert (parameter.device.type, parameter.dtype) == ('cpu', torch.bfloat16)
        assert not parameter.requires_grad
    assert not module.training
    drawn = nn.Linear(4, 3)
    assert drawn.weight.std() > 0, 'outside of the context values are initialized as usual'
