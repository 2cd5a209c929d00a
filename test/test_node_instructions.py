# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Instructions change while frames flow: a real network in a real node, over DDS."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('torch')
messages = pytest.importorskip('vla_ros_msgs.msg', reason='vla_ros_msgs is not built')

from node_harness import camera_image  # noqa: E402, I100
from node_harness import RELIABLE  # noqa: E402
from node_harness import running_node  # noqa: E402
from rclpy.qos import QoSDurabilityPolicy  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from vla_ros.util.demo_checkpoint import ensure_checkpoint  # noqa: E402

CHANGES = 100
LATCHED = QoSProfile(depth=CHANGES, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
DEEP = QoSProfile(depth=100, reliability=RELIABLE.reliability)
SECOND = 10 ** 9
#: A camera that leaves the processor time for others, too: this many inferences to a frame.
SLACK = 2.5
STALLS = 5


def nanoseconds(stamp):
    return stamp.sec * SECOND + stamp.nanosec


class Script:
    """Plays a camera whose frames are numbered by their stamps, and keeps what is answered."""

    def __init__(self, observer):
        self.observer = observer
        self.shown = 0
        self.answers, self.commands, self.acknowledged = [], [], {}
        observer.listen(messages.VlaAction, '/vla/action', DEEP, self.answers.append)
        observer.listen(messages.VlaStatus, '/vla/status', LATCHED, self._hear_status)
        observer.node.create_subscription(JointState, '/arm/joint_command', self._hear_command,
                                          DEEP)

    def start_camera(self, period):
        return self.observer.node.create_timer(period, self._show)

    def _show(self):
        with self.observer.changed:
            self.shown += 1
            self.observer.show(camera_image(self.shown % 256, self.now, (48, 64)))
            self.observer.changed.notify_all()

    @property
    def now(self):
        return self.observer.node.get_clock().now().nanoseconds

    def _hear_status(self, status):
        self.acknowledged.setdefault(status.instruction_version, nanoseconds(status.header.stamp))

    def _hear_command(self, command, info):
        self.commands.append((nanoseconds(command.header.stamp), info['source_timestamp']))


def words(number):
    """Give instructions of many lengths, none of them twice."""
    return f'task {number}' + ' and then the cup' * (number % 7)


def test_a_hundred_instructions_are_acknowledged_while_frames_arrive(tmp_path):
    checkpoint = ensure_checkpoint(tmp_path / 'checkpoint')
    with running_node('real', checkpoint=str(checkpoint), device='cpu', instruction=words(0),
                      status__period='5.0') as (node, observer):
        script = Script(observer)
        observer.wait_for_state('WAITING', node, 'no image')
        observer.wait_for_match(observer.camera, node)
        observer.wait_for_match(observer.operator, node)
        # How long an inference takes here and now decides which camera it can follow.
        trial = script.start_camera(0.05)
        observer.wait(lambda: len(script.answers) >= 12, 'twelve answers', node)
        observer.node.destroy_timer(trial)
        answering = np.median([
            nanoseconds(answer.published) - nanoseconds(answer.inference_started)
            for answer in script.answers]) / SECOND
        period = max(0.1, SLACK * answering)
        began = len(script.answers)
        camera = script.start_camera(period)
        for version in range(1, CHANGES + 1):
            # By turns while a frame is being answered, and right after an answer.
            number = script.shown
            observer.wait(lambda: script.shown > number, 'a frame', node)
            if version % 2:
                heard = len(script.answers)
                observer.wait(lambda: len(script.answers) > heard, 'an answer', node)
            observer.instruct(words(version))
            observer.wait(lambda: version in script.acknowledged, f'version {version}', node)
            observer.wait(lambda: script.answers[-1].instruction_version == version,
                          f'an answer to version {version}', node)
        observer.node.destroy_timer(camera)
        observer.wait(lambda: len(script.commands) >= len(script.answers), 'commands', node)
        said = observer.diagnostics[-1]

    answers = script.answers[began:]
    assert {answer.instruction_version for answer in answers} >= set(range(1, CHANGES + 1))
    assert all(answer.instruction == words(answer.instruction_version) for answer in answers)
    void = len(answers) < script.shown - began  # else nothing was ever in flight
    assert void, said

    # No command of an old instruction once the switch is acknowledged.
    versions = {nanoseconds(answer.header.stamp): answer.instruction_version
                for answer in script.answers}
    assert len(script.commands) >= len(answers)
    for stamp, published in script.commands:
        end = script.acknowledged.get(versions[stamp] + 1)
        assert end is None or published <= end, f'{published - end} ns after the switch'

    # No frame later than twice the period, and never more than one left out in a row. A busy
    # machine may stall now and then; what is wrong with a change would show a hundred times.
    ages = [answer.age_published for answer in answers]
    assert sum(age >= 2 * period for age in ages) <= STALLS, (sorted(ages)[-5:], period)
    stamps = [nanoseconds(answer.header.stamp) / SECOND for answer in answers]
    gaps = [(later - earlier) / period for earlier, later in zip(stamps, stamps[1:])]
    assert sum(gap >= 2.5 for gap in gaps) <= STALLS, (sorted(gaps)[-5:], period)
    print(f'period {period:.3f} s, {len(answers)} answers, age p50 {np.median(ages):.3f} s, '
          f'max {max(ages):.3f} s, gap max {max(gaps):.2f} periods, '
          f'discarded {said["results discarded"]}')
