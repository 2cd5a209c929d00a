# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The simulated arm as the inference node moves it: its motion layer and limits, without ROS."""

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_ros.control.motion_setup import build_arm
from vla_ros.control.parameters import NodeConfig
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import PolicySpec
from vla_ros.robot.hold import Hold
from vla_ros.util.share import find_share
from vla_ros.worlds.robot import JOINTS
from vla_ros.worlds.world import World
import yaml

# Seconds between two commands; the node sends twice as many.
_TICK = 0.02


@dataclass(frozen=True)
class _State:
    """The state of the node, see :class:`vla_ros.motion.arm.ArmState`."""

    is_moving: bool
    shadow: bool = False
    holds_gripper: bool = True
    is_silent: bool = False

    @property
    def is_held(self) -> bool:
        return not self.is_moving


class NodeArm:
    """Moves the arm of a world with the parameters of ``config/tabletop.yaml``."""

    def __init__(self, world: World, unnorm_key: str) -> None:
        """
        Build the arm.

        :param unnorm_key: dataset that describes the actions.
        """
        text = (find_share() / 'config' / 'tabletop.yaml').read_text(encoding='utf-8')
        values = dict(_flat(yaml.safe_load(text)['/**']['ros__parameters']))
        config = NodeConfig.from_values({
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()})
        spec = PolicySpec('', unnorm_key, (1, len(JOINTS)), 1, 0, '', '', '', '', '')
        self._world = world
        self._arm = build_arm(config, spec, lambda: world.robot.urdf)
        self._state = _State(is_moving=False)

    def reset(self) -> None:
        """Start from where the arm of the world is; it rests until the first action."""
        self._arm.forget()
        self._state = _State(is_moving=False)
        self._measure()

    def execute(self, action: np.ndarray) -> None:
        """Follow an action from now on, float64 (7,), rad and m; hold if a limit asks for it."""
        now = self._world.time
        empty: np.ndarray = np.zeros(0, np.float32)
        chunk = ActionChunk(action[None], action[None], (), (), empty, '', (), {})
        try:
            trajectory = self._arm.plan(chunk, self._arm.plan_start(now))
        except Hold:
            self.hold()
            return
        self._arm.execute(trajectory)
        self._state = _State(is_moving=True)

    def hold(self) -> None:
        """Stop the arm, until the next action."""
        self._state = _State(is_moving=False)

    def step(self, duration: float) -> None:
        """Advance time, seconds, a multiple of 0.02."""
        for _ in range(round(duration / _TICK)):
            command = None
            try:
                command = self._arm.tick(self._state, self._world.time)
            except Hold:
                self.hold()  # time passes all the same
            if command is not None:
                self._world.command(command.setpoint.positions)
            self._world.step(_TICK)
            self._measure()

    def _measure(self) -> None:
        self._arm.measurements.take(JOINTS, self._world.joint_positions().tolist(),
                                    self._world.time)


def _flat(tree: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Return parameters by their full names."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value
