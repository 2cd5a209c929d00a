# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The real node with the scripted expert for a policy, before a simulator that tells it all."""

from pathlib import Path
import sys

from vla_ros.evaluation.pair import Pair

_HERE = Path(__file__).parent
#: Simulated seconds; more than twice what an answer of the expert takes.
_ANSWER_WITHIN = 0.3


def expert_pair(speed, answer_within=_ANSWER_WITHIN):
    """Give a pair whose simulated time passes at most so fast."""
    return Pair('expert', speed, answer_within,
                node=(sys.executable, str(_HERE / 'expert_node.py')),
                sim=(sys.executable, str(_HERE / 'truthful_sim.py')))
