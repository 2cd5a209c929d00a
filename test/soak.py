# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Runs the node for long, and looks whether it grows, or loses anything; run by hand.

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

#: Commands and statuses are all to be heard: the listener's queues are deeper than any delay.
_DEEP = QoSProfile(depth=2000, reliability=QoSReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(depth=2000, reliability=QoSReliabilityPolicy.RELIABLE,
                      durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
#: Share by which the memory may grow.
_GROWTH = 0.01
#: Share of the time that counts as warm-up, and its limits in seconds.
_WARM_UP, _SHORTEST, _LONGEST = 0.2, 30.0, 600.0


class Listener:
    """Hears every status and every command."""

    def __init__(self, arm: Robot) -> None:
        self.arm = arm
        self.states: list[str] = []
        self.numbers: list[int] = []
        self.last: Any = None
        arm.observer.listen(VlaStatus, '/vla/status', _LATCHED, self.hear_status)
        arm.observer.node.create_subscription(JointState, '/arm/joint_command', self.hear_command,
                                              _DEEP)

    def hear_status(self, status: VlaStatus) -> None:
        """Keep each state that differs from the one before."""
        self.last = status
        reason = status.reason.partition(':')[0] if status.state == 'HOLD' else ''
        state = f'{status.state} {reason}'.strip()
        if self.states[-1:] != [state]:
            self.states.append(state)

    def hear_command(self, command: JointState, info: dict[str, int]) -> None:
        """Keep the number that the middleware gave it."""
        self.numbers.append(info['publication_sequence_number'])

    def wait_for(self, state: str) -> None:
        """Wait until a state was heard last."""
        self.arm.observer.wait(lambda: self.states[-1:] == [state], state, self.arm.node)

    def lost(self) -> int:
        """Give how many commands of those between the first and the last did not arrive."""
        numbers = sorted(set(self.numbers))
        return numbers[-1] - numbers[0] + 1 - len(numbers)


def silence_camera(arm: Robot, camera: CameraProcess, listener: Listener) -> list[str]:
    """Have it send nothing for a while."""
    camera.set_mode('silent')
    listener.wait_for('HOLD stale image')
    camera.set_mode('live')
    return ['HOLD stale image', 'RUNNING']


def silence_joints(arm: Robot, camera: CameraProcess, listener: Listener) -> list[str]:
    """Have the arm say nothing for a while."""
    arm.is_silent = True
    listener.wait_for('HOLD stale joint states')
    arm.is_silent = False
    return ['HOLD stale joint states', 'RUNNING']


def press_button(arm: Robot, camera: CameraProcess, listener: Listener) -> list[str]:
    """Stop, release, re-arm."""
    arm.press()
    listener.wait_for('ESTOP')
    arm.press(False)
    arm.wait_for('ESTOP', 'released')
    assert arm.call('rearm').success
    return ['ESTOP', 'WAITING', 'RUNNING']


def call_hold(arm: Robot, camera: CameraProcess, listener: Listener) -> list[str]:
    """Have the operator hold the arm and go on."""
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
    """Run as long as was asked for, print the table, give the exit status."""
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
    """Bring about faults and measure; give the exit status."""
    begin = time.monotonic()
    warm = begin + min(max(_WARM_UP * seconds, _SHORTEST), _LONGEST)
    pause = threading.Event()
    interval = min(60.0, seconds / 10)
    sizes: list[tuple[float, int]] = []
    missed: list[str] = []
    print('  minute  memory [MB]  commands  lost  camera [Hz]  inference [Hz]  fault')
    for turn in range(int(seconds / interval)):
        fault = _FAULTS[turn % len(_FAULTS)]
        heard = len(listener.states)
        expected = fault(arm, camera, listener)
        try:
            listener.wait_for('RUNNING')
        except AssertionError:
            missed.append(f'{fault.__name__}: not RUNNING within {DEADLINE:g} s')
        seen = listener.states[heard:]
        if not _are_among(expected, seen):
            missed.append(f'{fault.__name__}: expected {expected}, heard {seen}')
        elif seen != expected:
            print(f'{fault.__name__}: expected {expected}, heard more: {seen}', flush=True)
        pause.wait(begin + (turn + 1) * interval - time.monotonic())
        now = time.monotonic()
        size = memory(arm.node.pid)
        if now >= warm:
            sizes.append((now, size))
        print(f'{(now - begin) / 60:8.1f} {size / 1e6:12.2f} {len(listener.numbers):9d} '
              f'{listener.lost():5d} {listener.last.camera_rate:12.1f} '
              f'{listener.last.inference_rate:15.1f}  {fault.__name__}', flush=True)
    return judge(np.array(sizes), missed, listener.lost())


def _are_among(expected: list[str], heard: list[str]) -> bool:
    """Tell whether all were heard in their order; a busy machine may hold the arm in between."""
    rest = iter(heard)
    return all(state in rest for state in expected)


def judge(sizes: np.ndarray, missed: list[str], lost: int) -> int:
    """
    Print what was found.

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
    """Give the resident memory of a process in bytes."""
    with open(f'/proc/{pid}/status') as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith('VmRSS'))


if __name__ == '__main__':
    sys.exit(main())
