# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The real node with a scripted policy: a process for the node tests.

``python fake_policy_node.py BEHAVIOUR [--ros-args …]``. It prints its progress, so that a test
can wait for it.
"""

from dataclasses import replace
import math
import re
import sys
import threading
import time
import zlib

import numpy as np
from vla_ros.errors import InvalidAction
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.base import Policy
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.ros.main import main


def report(event: str) -> None:
    """Print an event for the test."""
    print(event, flush=True)


class FakePolicy:
    """
    Predicts an action that repeats its observation.

    The seven numbers of an action are the first pixel's red, green and blue, the first number in
    the instruction, and three zeros. An instruction can also request a failure.
    """

    def __init__(self, delay: float, is_stepwise: bool = False) -> None:
        self.delay = delay
        self.is_stepwise = is_stepwise
        self.spec = PolicySpec(
            checkpoint='fake', unnorm_key='fake_dataset', action_shape=(1, 7), image_count=1,
            proprio_dim=0, device='cpu', dtype='float32', attention='none',
            attention_reason='a fake has none', quantization='none')

    def infer(self, observation: Observation) -> ActionChunk:
        """Infer after the delay or a line on stdin, or fail as the instruction requests."""
        image, instruction = observation.images[0], observation.instruction
        report(f'inferring {image[0, 0].tolist()} {instruction}')
        if 'hang' in instruction:
            threading.Event().wait()
        if 'matmul' in instruction:
            import torch
            matrix = torch.ones(8000, 8000)
            report('multiplying')
            while True:
                torch.mm(matrix, matrix)
        if 'invalid' in instruction:
            raise InvalidAction('a word instead of an action', (1, 2, 3), (0,))
        if 'crash' in instruction:
            raise RuntimeError('out of everything')
        if 'nan' in instruction:
            image = np.full((1, 1, 3), np.nan)
        if self.is_stepwise:
            sys.stdin.readline()
        time.sleep(self.delay)
        number = re.search(r'\d+', instruction)
        action = [*image[0, 0].tolist(), float(number.group() if number else 0), 0.0, 0.0, 0.0]
        actions = np.array([action])
        return ActionChunk(
            actions=actions, normalized=actions / 255, token_ids=tuple(range(31744, 31751)),
            bins=tuple(range(7)), margins=np.ones(7, np.float32), prompt=instruction,
            input_ids=(1, 2), timings_ms={'sleep': 1e3 * self.delay}, drafted=6, accepted=4)

    def reset(self) -> None:
        """Do nothing, as there is no state."""


class ObservingPolicy(FakePolicy):
    """Prints its observation: a checksum of each image, and the state."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.spec = replace(self.spec, image_count=2, proprio_dim=2)

    def infer(self, observation: Observation) -> ActionChunk:
        """Print the observation, then infer."""
        sums = [zlib.crc32(image.tobytes()) for image in observation.images]
        assert observation.proprio is not None
        report(f'observed {sums} {observation.proprio.tolist()}')
        return super().infer(observation)


class ArmPolicy:
    """
    Moves an arm's tip back and forth along y, in the deltas of Bridge.

    An instruction can request a failure, as with :class:`FakePolicy`.
    """

    def __init__(self, delay: float, is_busy: bool = False) -> None:
        self.fake = FakePolicy(0.0 if is_busy else delay)
        self.busy_s = delay if is_busy else 0.0
        self.spec = replace(self.fake.spec, unnorm_key='bridge_orig')

    def infer(self, observation: Observation) -> ActionChunk:
        """Predict a delta that depends on the time alone."""
        if 'memory' in observation.instruction:
            raise MemoryError('none left')
        chunk = self.fake.infer(observation)
        end = time.monotonic() + self.busy_s
        while time.monotonic() < end:
            pass  # as Python between two kernels: other threads wait for the interpreter
        speed = 0.01 * math.cos(2 * math.pi * time.monotonic() / 8.0)
        action = [0.0, speed, 0.0, 0.0, 0.0, 0.0, 1.0]
        if 'jump' in observation.instruction:
            action = [0.0, 0.0, 0.0, 0.0, 0.0, 0.8, 1.0]
        if 'nan' in observation.instruction:
            action[2] = math.nan
        if 'far' in observation.instruction:
            action[0] = 0.5
        if 'beyond' in observation.instruction:
            action[0], action[2] = 0.44, 0.6  # within the workspace, out of the arm's reach
        return replace(chunk, actions=np.array([action]))

    def reset(self) -> None:
        """Do nothing, as there is no state."""


def load(config: PolicyConfig, behaviour: str) -> Policy:
    """Load a policy, or fail, as the behaviour requests."""
    config.progress(0.25, 'loading a fake')
    if behaviour == 'hang_loading':
        report('loading')
        threading.Event().wait()
    if behaviour == 'endless_loading':
        report('loading')
        while True:
            config.progress(0.5, 'loading a fake for ever')
            time.sleep(0.01)
    if behaviour == 'real_loading':
        report('loading')
        load_policy(replace(config, checkpoint='there is no such folder'))
    arm = re.fullmatch(r'(busy_)?arm=(.*)', behaviour)
    if arm:
        return ArmPolicy(float(arm.group(2)), bool(arm.group(1)))
    if behaviour == 'observing':
        return ObservingPolicy()
    delay = re.fullmatch(r'delay=(.*)', behaviour)
    return FakePolicy(float(delay.group(1)) if delay else 0.0, behaviour == 'stepwise')


if __name__ == '__main__':
    behaviour = sys.argv.pop(1)
    if behaviour == 'no_messages':
        sys.modules['vla_ros_msgs'] = None  # type: ignore[assignment]  # importing it fails
    sys.exit(main(load=lambda config: load(config, behaviour)))
