# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A task of LIBERO and an inference node, as two processes on a ROS domain of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
import os
import sys

from vla_ros.evaluation.pair import parameter_arguments
from vla_ros.util.share import find_share
from vla_ros.worlds.libero.environment import node_command
from vla_ros.worlds.libero.environment import node_environment

POLICIES = ('expert', 'replay', 'checkpoint')
CONTROLLERS = ('joint', 'osc')
_FACTORIES = {'expert': 'vla_ros.sim.libero.expert_policy:make',
              'replay': 'vla_ros.sim.libero.replay:make', 'checkpoint': 'local'}
#: The official evaluation's transforms; the last one is for a model trained with random crops.
_IMAGE_TRANSFORMS = ['rotate_180', 'libero_resize', 'center_crop']
#: Seconds for which a paused simulation waits for one action.
_ACTION_TIMEOUTS = {'expert': 2.0, 'replay': 2.0, 'checkpoint': 120.0}


@dataclass(frozen=True)
class SuitePair:
    """
    How robot and node are started.

    :param world: the first task, as ``SUITE/TASK``.
    :param policy: one of :data:`POLICIES`.
    :param checkpoint: folder or hub id; for ``replay`` the folder of a recording.
    :param unnorm_key: statistics that scale the actions.
    :param controller: ``joint``: this package's kinematics, rate contract and limits move the
        arm; ``osc``: the benchmark's own controller does.
    :param latency: simulated seconds by which images are late.
    :param is_paused: whether simulated time waits for each action.
    :param steps: actions that are executed of each chunk.
    :param cameras: 1, or 2 with the one on the wrist.
    :param has_proprio: whether the checkpoint takes the robot's state.
    :param is_cropped: whether images are cropped as for a model trained with random crops.
    :param head: how the action leaves the network, as the node's parameter says.
    """

    world: str
    policy: str
    checkpoint: str
    unnorm_key: str
    controller: str = 'joint'
    latency: float = 0.0
    is_paused: bool = True
    steps: int = 1
    cameras: int = 1
    has_proprio: bool = False
    device: str = 'auto'
    is_cropped: bool = True
    head: str = 'auto'

    def sim_command(self) -> list[str]:
        """Return the command of the robot."""
        return node_command(os.environ, [
            '--world', self.world, '--controller', self.controller, '--ros-args',
            *parameter_arguments(pause=self.is_paused, latency=float(self.latency),
                                 steps=self.steps, patience=_ACTION_TIMEOUTS[self.policy])])

    def sim_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the robot's process."""
        return node_environment(environment)

    def node_command(self) -> list[str]:
        """Return the command of the node."""
        values: dict[str, object] = {
            'policy': _FACTORIES[self.policy], 'checkpoint': self.checkpoint,
            'unnorm_key': self.unnorm_key, 'device': self.device, 'use_sim_time': True,
            'black_box.folder': ''}
        if self.controller == 'osc':
            values |= {'action.space': 'raw', 'robot.file': '', 'robot.urdf': ''}
        if self.policy == 'checkpoint':
            values['image.transforms'] = _IMAGE_TRANSFORMS[:None if self.is_cropped else 2]
            values['head'] = self.head
        else:
            values['image.transforms'] = ['']  # these policies use no image
        if self.policy == 'replay':
            values['chunk_length'] = self.steps
        if self.policy == 'expert':
            values['proprio.topic'] = '/vla_sim/situation'
        elif self.has_proprio:
            values['proprio.topic'] = '/vla_sim/proprio'
        if self.cameras == 2:
            values['image.extra_topics'] = ['/camera/wrist/image_raw']
        return [sys.executable, '-m', 'vla_ros.ros.main', '--ros-args', '--params-file',
                str(find_share() / 'config' / 'libero.yaml'), *parameter_arguments(**values)]
