# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The real node with a policy that takes no time: a process for ``vla_bench node``.

When it ends it prints one JSON list, with a row of nanoseconds of ROS time for each result: the
image's stamp, when it reached the node, when the inference began and ended, and when the command
was out.
"""

import json
import sys
import time
from typing import Any

import numpy as np

from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig
from vla_ros.ros.main import main

_CHUNK = ActionChunk(
    actions=np.zeros((1, 7)), normalized=np.zeros((1, 7)), token_ids=tuple(range(31744, 31751)),
    bins=(0,) * 7, margins=np.ones(7, np.float32), prompt='', input_ids=(1,), timings_ms={})

_rows: list[tuple[int, ...]] = []


class InstantPolicy:
    """Gives the same chunk for every observation, at once."""

    spec = PolicySpec(
        checkpoint='none', unnorm_key='none', action_shape=(1, 7), image_count=1, proprio_dim=0,
        device='cpu', dtype='float32', attention='none', attention_reason='there is no model',
        quantization='none')

    def infer(self, observation: Observation) -> ActionChunk:
        """Return the chunk."""
        return _CHUNK

    def reset(self) -> None:
        """Nothing is kept."""


def load(config: PolicyConfig) -> InstantPolicy:
    """Make the policy, and have the node, which exists by now, note its results."""
    from vla_ros.control.ros_interface import InferenceResult
    from vla_ros.ros import messages
    from vla_ros.ros.command_publisher import CommandPublisher
    from vla_ros.ros.node_interface import NodeInterface
    publish, account, published = CommandPublisher.joint_state, NodeInterface.publish_result, [0]

    def publish_timed(publisher: CommandPublisher, *command: Any) -> None:
        publish(publisher, *command)
        # The clock of ROS, which is not simulated here.
        published[0] = time.time_ns()

    def account_timed(ros: NodeInterface, result: InferenceResult, moment: int) -> float:
        age = account(ros, result, moment)
        _rows.append((messages.nanoseconds(result.frame.image.header.stamp), result.frame.received,
                      result.started, result.ended, published[0]))
        return age

    CommandPublisher.joint_state = publish_timed  # type: ignore
    NodeInterface.publish_result = account_timed  # type: ignore
    return InstantPolicy()


if __name__ == '__main__':
    status = main(load=load)
    print(json.dumps(_rows), flush=True)
    sys.exit(status)
