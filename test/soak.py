# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Runs the node for long, and checks growth of memory and lost messages; run by hand.

``python test/soak.py [--minutes 60]``: a camera of 30 Hz, a node with a tiny policy of the real
kind, and an arm that follows, in three processes; a fault a minute. It prints a table and ends
with status 1 if the node's memory has grown by more than 1 % after its warm-up, if a RELIABLE
listener has missed a change of the status that a fault was to bring about, or if one command did
not arrive.
"""

import argparse
from collections.abc import Callable
import sys
import threading
import time
from typing import Any

from arm_harness import CameraProcess
from arm_harness import Robot
from node_harness import DEADLINE
from node_harness import running_node
import numpy as np
from rclpy.qos import QoSDurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy
from sensor_msgs.msg import JointState
from vla_ros.util.demo_checkpoint import checkpoint_folder
from vla_ros.util.demo_checkpoint import ensure_checkpoint
from vla_ros_msgs.msg import VlaStatus

#: Queues of the listener, deep enough for every command and status.
_DEEP = QoSProfile(depth=2000, reliability=QoSReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(depth=2000, reliability=QoSReliabilityPolicy.RELIABLE,
                      durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
#: Share by which the memory may grow.
_GROWTH = 0.01
#: Share of the time that counts as warm-up, and its limits in seconds.
_WARM_UP, _SHORTEST, _LONGEST = 0.2, 30.0, 600.0


class Listener:
    """Receives every status and every command."""

    def __init__(self, arm: Robot) -> None:
        self.arm = arm
        self.states: list[str] = []
        self.numbers: list[int] = []
        self.last: Any = None
        arm.observer.listen(VlaStatus, '/vla/status', _LATCHED, self.take_status)
        arm.observer.node.create_subscription(JointState, '/arm/joint_command', self.take_command,
                                              _DEEP)

    def take_status(self, status: VlaStatus) -> None:
        """Keep each state that differs from the one before."""
        self.last = status
        reason = status.reason.partition(':')[0] if status.state == 'HOLD' else ''
        state = f'{status.state} {reason}'.strip()
        if self.states[-1:] != [state]:
            self.states.append(state)

    def take_command(self, command: JointState, info: dict[str, int]) -> None:
        """Keep the number that the middleware gave it."""
        self.numbers.append(info['publication_sequence_number'])

    def wait_for(self, state: str) -> None:
        """Wait until the last state is this one."""
        self.arm.observer.wait(lambda: self.states[-1:] == [state], state, self.arm.node)

    def lost(self) -> int:
        """Return the number of lost commands between the first and the last one."""
        numbers = sorted(set(self.numbers))
        return numbers[-1] - numbers[0] + 1 - len(numbers)


def silence_camera(arm: Robot, camera: CameraProcess, listener: Listener) -> list[str]:
    """Silence the camera until the node holds."""
    camera.set_mode('silent')
    listener.wait_for('HOLD stale image')
    camera.set_mode('live')
    return ['HOLD stale image', 'RUNNING']


def silence_joints(arm: Robot, camera: CameraProcess, listener: Listener) -> list[str]:
    """Silence the joint states until the node holds."""
    arm.is_silent = True
    listener.wait_for('HOLD stale joint states')
    arm.is_silent = False
    return ['HOLD stale joint states', 'RUNNING']


def press_button(arm: Robot, camera: CameraProcess, listener: Listener) -> list[str]:
    """Press the emergency stop, release it and re-arm."""
    arm.press()
    listener.wait_for('ESTOP')
    arm.press(False)
    arm.wait_for('ESTOP', 'released')
    assert arm.call('rearm').success
    return ['ESTOP', 'WAITING', 'RUNNING']


def call_hold(arm: Robot, camera: CameraProcess, listener: Listener) -> list[str]:
    """Hold the arm as the operator, and re-arm."""
    assert arm.call('hold').success
    listener.wait_for('HOLD operator')
    assert arm.call('rearm').success
    return ['HOLD operator', 'WAITING', 'RUNNING']


def instruct(arm: Robot, camera: CameraProcess, listener: Listener) -> list[str]:
    """Change the instruction."""
    text = f'move the cup to place {len(listener.states)}'
    arm.observer.instruct(text)
    arm.observer.wait(lambda: listener.last.instruction == text, 'the instruction', arm.node)
    return ['WAITING', 'RUNNING']


_FAULTS: tuple[Callable[[Robot, CameraProcess, Listener], list[str]], ...] = (
    silence_camera, silence_joints, press_button, call_hold, instruct)


def main() -> int:
    """Run for the given time, print the table, return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=float, default=60.0)
    seconds = 60.0 * parser.parse_args().minutes
    with running_node('real', checkpoint=str(ensure_checkpoint(checkpoint_folder())),
                      robot__file='six_axis_arm', action__space='joint_position',
                      action__period='0.2', action__gripper='[6.0,1.0,0.0]',
                      action_limits__jump='10.0', instruction='swing',
                      max_age='1.0') as (node, observer):
        camera = CameraProcess(observer.context.get_domain_id())
        arm = Robot(observer, node, '/arm/joint_command')
        listener = Listener(arm)
        try:
            arm.wait_for('RUNNING')
            listener.wait_for('RUNNING')
            return run(seconds, arm, camera, listener)
        finally:
            camera.kill()


def run(seconds: float, arm: Robot, camera: CameraProcess, listener: Listener) -> int:
    """Cause faults and measure; return the exit status."""
    begin = time.monotonic()
    warm = begin + min(max(_WARM_UP * seconds, _SHORTEST), _LONGEST)
    pause = threading.Event()
    interval = min(60.0, seconds / 10)
    sizes: list[tuple[float, int]] = []
    missed: list[str] = []
    print('  minute  memory [MB]  commands  lost  camera [Hz]  inference [Hz]  fault')
    for turn in range(int(seconds / interval)):
        fault = _FAULTS[turn % len(_FAULTS)]
        found = len(listener.states)
        expected = fault(arm, camera, listener)
        try:
            listener.wait_for('RUNNING')
        except AssertionError:
            missed.append(f'{fault.__name__}: not RUNNING within {DEADLINE:g} s')
        seen = listener.states[found:]
        if not _are_among(expected, seen):
            missed.append(f'{fault.__name__}: expected {expected}, got {seen}')
        elif seen != expected:
            print(f'{fault.__name__}: expected {expected}, got more: {seen}', flush=True)
        pause.wait(begin + (turn + 1) * interval - time.monotonic())
        now = time.monotonic()
        size = memory(arm.node.pid)
        if now >= warm:
            sizes.append((now, size))
        print(f'{(now - begin) / 60:8.1f} {size / 1e6:12.2f} {len(listener.numbers):9d} '
              f'{listener.lost():5d} {listener.last.camera_rate:12.1f} '
              f'{listener.last.inference_rate:15.1f}  {fault.__name__}', flush=True)
    return judge(np.array(sizes), missed, listener.lost())


def _are_among(expected: list[str], found: list[str]) -> bool:
    """Return whether the states occur in order; a busy machine may add holds in between."""
    rest = iter(found)
    return all(state in rest for state in expected)


def judge(sizes: np.ndarray, missed: list[str], lost: int) -> int:
    """
    Print the results.

    :param sizes: float64 (N, 2), seconds and bytes, after the warm-up.
    :returns: exit status.
    """
    third = max(1, len(sizes) // 3)
    first, last = np.median(sizes[:third, 1]), np.median(sizes[-third:, 1])
    growth = last / first - 1.0
    print(f'memory: {first / 1e6:.2f} MB after the warm-up, {last / 1e6:.2f} MB at the end: '
          f'{growth:+.2%} (medians of {third} of {len(sizes)} each)')
    print(f'commands lost: {lost}')
    for line in missed:
        print(f'missed: {line}')
    return int(growth > _GROWTH or lost > 0 or bool(missed))


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    with open(f'/proc/{pid}/status') as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith('VmRSS'))


if __name__ == '__main__':
    sys.exit(main())
