# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The real node with the scripted expert, and a simulator that publishes the true state."""

from pathlib import Path
import sys

from vla_ros.evaluation.pair import Pair

_HERE = Path(__file__).parent
#: Simulated seconds; more than twice the duration of an inference of the expert.
_RESULT_WITHIN = 0.3


def expert_pair(speed, result_within=_RESULT_WITHIN):
    """Return a pair with a real-time factor of at most ``speed``."""
    return Pair('expert', speed, result_within,
                node=(sys.executable, str(_HERE / 'expert_node.py')),
                sim=(sys.executable, str(_HERE / 'state_sim.py')))
