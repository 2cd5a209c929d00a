# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What the measurements of ``gpu_check`` share: policy, frame, clock and output."""

import argparse
from collections.abc import Callable
from collections.abc import Mapping
import json
import time

import numpy as np
import torch

from vla_ros.bench.shapes import random_policy
from vla_ros.bench.timing import summarize
from vla_ros.model.openvla import OpenVlaPolicy
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig

#: Runs before the first one that counts.
WARMUP = 3


def config_of(arguments: argparse.Namespace) -> PolicyConfig:
    """Return how the command line wants policies to run."""
    return PolicyConfig(arguments.shape, device=arguments.device, clip_invalid=True)


def random_policy_of(arguments: argparse.Namespace, shape: str | None = None) -> OpenVlaPolicy:
    """Make a policy of random weights, by default of the shape on the command line."""
    return random_policy(shape or arguments.shape, config_of(arguments))


def noise() -> Observation:
    """Draw a frame of 640x480, the same at each call."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    return Observation((image,), 'pick up the cup')


def time_runs(run: Callable[[], object], device: torch.device, rounds: int) -> dict[str, float]:
    """Time a call by the host's clock, from an idle device to an idle device."""
    spent = []
    for number in range(rounds + WARMUP):
        wait_for(device)
        began = time.perf_counter()
        run()
        wait_for(device)
        if number >= WARMUP:
            spent.append((time.perf_counter() - began) * 1e3)
    return summarize(spent)


def wait_for(device: torch.device) -> None:
    """Wait until a device is idle."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def keep(result: Mapping[str, object]) -> None:
    """Print what was measured so far: it counts if the stage exceeds its limit."""
    print(json.dumps(result), flush=True)
