# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""vla_sim that also publishes the true state, for the policy of expert_node.py."""

import sys

import numpy as np
from std_msgs.msg import Float64MultiArray

from vla_ros.sim.node import main
from vla_ros.sim.node import SimNode
from vla_ros.worlds.tasks import COLORS
from vla_ros.worlds.tasks import WorldState

TOPIC = '/test/state'


class StateSim(SimNode):
    """Publishes the state with every step."""

    def __init__(self):
        super().__init__()
        self._states = self.create_publisher(Float64MultiArray, TOPIC, 1)

    def _step(self):
        super()._step()
        now = self._world.state()
        blocks = [now.blocks.get(color, np.full(3, np.nan)) for color in COLORS]
        self._states.publish(Float64MultiArray(
            data=[self._elapsed, *now.tool, now.gripper, *np.concatenate(blocks)]))


def read_state(message):
    """Return the simulated time and the state of a message."""
    elapsed, *numbers = message.data
    blocks = np.array(numbers[4:]).reshape(len(COLORS), 3)
    return elapsed, WorldState(elapsed, np.array(numbers[:3]), numbers[3], {
        color: block for color, block in zip(COLORS, blocks) if np.isfinite(block).all()})


if __name__ == '__main__':
    sys.exit(main(StateSim))
