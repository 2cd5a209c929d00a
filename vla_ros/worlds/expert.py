# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The scripted expert: where the arm should be going, from the present state of the world alone.

It keeps no state, so it can say what to do wherever an arm has ended up, by its own noise or by
someone else's mistakes: recovery needs no script, and any state can be labelled.

Going down is a funnel: the nearer the tool is to where it may go down, the lower is its goal. With
an edge instead, which an image does not show, a model that is two centimetres off waits at it.
"""

import numpy as np

from vla_ros.worlds.robot import GRIPPER_JOINT
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.robot import TopDownArm
from vla_ros.worlds.scene import BLOCK_SIZE
from vla_ros.worlds.tasks import Task
from vla_ros.worlds.tasks import WorldState

# Heights of the tool above the table, m.
_HOVER, _REACH, _GRASP, _PUSH, _LIFT = 0.125, 0.075, 0.022, 0.03, 0.20
# The funnels: low within the first distance, high from the second on, m.
_FUNNEL_PUSH, _FUNNEL_PICK = (0.025, 0.05), (0.015, 0.04)
# How far behind the block a push begins, where it touches it, and how far ahead the arm aims, m.
_BEHIND, _TOUCH, _AHEAD = 0.075, 0.02, 0.05
# A push goes forward below the second height, and all the way from the first down, m.
_FORWARD = (0.045, 0.07)
_FARTHEST = 0.60
# The gripper holds the block when it cannot close further than this, m.
_HOLDING = BLOCK_SIZE / 2 + 0.0035


class Expert:
    """Gives the joint positions to go to."""

    def __init__(self, robot: Robot) -> None:
        self._arm = TopDownArm(robot)
        self._open = robot.joints[GRIPPER_JOINT].upper

    def act(self, task: Task, now: WorldState) -> np.ndarray:
        """
        Return where to go.

        :returns: float64 (7,), target of each of ``JOINTS``, rad and m.
        """
        point, gripper = {'reach': self._reach, 'push': self._push, 'pick': self._pick}[
            task.kind](now, now.blocks[task.color])
        return self.joints(point, gripper)

    def joints(self, point: np.ndarray, gripper: float) -> np.ndarray:
        """Return the joint positions, float64 (7,), for a tool position within reach."""
        radius = np.hypot(point[0], point[1])
        within = np.array([*point[:2] * np.clip(radius, 0.2, _FARTHEST) / radius, point[2]])
        return np.array([*self._arm.solve(within), gripper])

    def _reach(self, now: WorldState, block: np.ndarray) -> tuple[np.ndarray, float]:
        return _at(block, _REACH), self._open

    def _push(self, now: WorldState, block: np.ndarray) -> tuple[np.ndarray, float]:
        outward = block[:2] / np.hypot(*block[:2])
        offset = now.tool[:2] - block[:2]
        ahead, aside = offset @ outward, offset @ np.array([-outward[1], outward[0]])
        low = 1 - _ramp(float(now.tool[2]), *_FORWARD)
        # What is free of the block: the place where it begins; for a low tool, up to the block.
        free = np.clip(ahead, -_BEHIND, -_BEHIND + low * (_BEHIND - _TOUCH))
        down = 1 - _ramp(np.hypot(ahead - free, aside), *_FUNNEL_PUSH)
        goal = block[:2] + (low * down * (_AHEAD + _BEHIND) - _BEHIND) * outward
        return _at(goal, _HOVER + down * (_PUSH - _HOVER)), 0.0

    def _pick(self, now: WorldState, block: np.ndarray) -> tuple[np.ndarray, float]:
        distance = np.hypot(*(now.tool - block)[:2])
        level = abs(now.tool[2] - block[2])
        if distance < 0.018 and level < 0.02 and now.gripper < _HOLDING:
            return _at(block, _LIFT), 0.0
        if distance < 0.018 and level < 0.014:
            return _at(block, _GRASP), 0.0
        high = _ramp(distance, *_FUNNEL_PICK) if now.gripper > 0.75 * self._open else 1.0
        return _at(block, _GRASP + high * (_HOVER - _GRASP)), self._open


def _at(place: np.ndarray, height: float) -> np.ndarray:
    return np.array([place[0], place[1], height])


def _ramp(value: float, low: float, high: float) -> float:
    """Return 0 up to ``low``, 1 from ``high`` on, and what lies between in between."""
    return float(np.clip((value - low) / (high - low), 0, 1))
