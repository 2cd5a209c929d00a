# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A robot for the node under test: a camera process, an arm that follows, and an operator."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

from node_harness import NEWEST
from node_harness import NodeProcess
from node_harness import Observer
from node_harness import RELIABLE
from node_harness import running_node
import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

JOINTS = [f'joint_{index}' for index in range(1, 7)]
HOME = [0.0, 0.0, 0.0, 0.0, 1.5708, 0.0]
NODE = '/vla_inference_node'

_CAMERA = Path(__file__).with_name('fake_camera.py')


class CameraProcess:
    """A camera process with modes of failure, which can be killed."""

    def __init__(self, domain: int) -> None:
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain),
                       'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
        self._process = subprocess.Popen([sys.executable, str(_CAMERA)], env=environment,
                                         text=True, stdin=subprocess.PIPE)

    def set_mode(self, mode: str) -> None:
        """Set the mode of the camera."""
        self._process.stdin.write(f'{mode}\n')
        self._process.stdin.flush()

    def kill(self) -> None:
        """Kill the process, like a broken cable."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()


class Robot:
    """An arm at its last commanded positions, which it publishes at 100 Hz."""

    def __init__(self, observer: Observer, node: NodeProcess, topic: str) -> None:
        """
        Join the graph of the observer.

        :param topic: of the commands to follow; empty for an arm that follows none.
        """
        self.observer = observer
        self.node = node
        self.positions = dict(zip(JOINTS, HOME))
        self.is_silent = False
        self.is_stuck = False
        self.commands: list[tuple[float, JointState]] = []
        self.states = observer.node.create_publisher(JointState, '/joint_states', NEWEST)
        self.button = observer.node.create_publisher(Bool, '/arm/estop', RELIABLE)
        if topic:
            observer.listen(JointState, topic, RELIABLE, self.follow)
        observer.node.create_timer(0.01, self.publish_joints)

    def follow(self, command: JointState) -> None:
        """Keep a command, and move to its positions."""
        self.commands.append((time.monotonic(), command))
        if not self.is_stuck:
            self.positions = dict(zip(command.name, command.position))

    def publish_joints(self) -> None:
        """Publish the positions of the joints."""
        if not self.is_silent:
            self.states.publish(JointState(name=list(self.positions),
                                           position=list(self.positions.values())))

    def wait_for(self, state: str, reason: str = '') -> dict[str, Any]:
        """Wait until the node is in a state."""
        return self.observer.wait_for_state(state, self.node, reason)

    def wait_for_motion(self) -> None:
        """Wait until the arm has moved by 0.05 rad."""
        with self.observer.changed:
            start = self.vector()
        self.observer.wait(lambda: np.abs(self.vector() - start).max() > 0.05, 'a motion',
                           self.node)

    def vector(self) -> np.ndarray:
        """Return the positions of the arm's joints, float64 (6,)."""
        return np.array([self.positions[name] for name in JOINTS])

    def wait_for_commands(self, count: int) -> list[JointState]:
        """Wait for ``count`` further commands, and return them."""
        with self.observer.changed:
            start = len(self.commands)
        self.observer.wait(lambda: len(self.commands) >= start + count, 'commands', self.node)
        return [command for _, command in self.commands[start:]]

    def call(self, service: str) -> Trigger.Response:
        """Call a service of the node."""
        return self.observer.call(Trigger, f'{NODE}/{service}', Trigger.Request(), self.node)

    def press(self, pressed: bool = True) -> None:
        """Press or release the emergency stop."""
        self.observer.wait_for_match(self.button, self.node)
        self.button.publish(Bool(data=pressed))


@contextmanager
def robot(delay: float = 0.02, topic: str = '/arm/joint_command', policy: str = 'arm',
          **parameters: str) -> Iterator[tuple[Robot, CameraProcess]]:
    """Run node, camera and arm with default parameters."""
    values = {'robot__file': 'six_axis_arm', 'action__space': 'dataset', 'instruction': 'swing',
              'status__period': '0.1', 'max_age': '0.5', 'black_box__folder': '""', **parameters}
    with running_node(f'{policy}={delay}', **values) as (node, observer):
        camera = CameraProcess(observer.context.get_domain_id())
        try:
            yield Robot(observer, node, topic), camera
        finally:
            observer.close()
            camera.kill()


def assert_held(arm: Robot) -> None:
    """Check that the arm rests, and that commands to hold it continue."""
    def rests() -> bool:
        positions = np.array([command.position for _, command in arm.commands[-20:]])
        return np.ptp(positions, axis=0).max() < 1e-9

    arm.wait_for_commands(20)
    arm.observer.wait(rests, 'rest', arm.node)
    start = time.monotonic()
    commands = arm.wait_for_commands(20)
    assert time.monotonic() - start < 2.0, 'commands of the hold are too rare'
    assert rests()
    assert commands[0].header.frame_id == '', 'a command of a hold has no frame'
