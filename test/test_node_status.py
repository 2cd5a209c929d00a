# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node's status and the report of each result: ages, rates and counts."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from node_harness import camera_image  # noqa: E402, I100
from node_harness import RELIABLE  # noqa: E402
from node_harness import running_node  # noqa: E402
from rclpy.qos import QoSDurabilityPolicy  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402

LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


def test_ages_follow_simulated_time() -> None:
    """With use_sim_time there is a status before the first message of the clock."""
    with running_node(use_sim_time='true', instruction='task 1', status__period='0.05') as (
            node, observer):
        clock = observer.node.create_publisher(Clock, '/clock', LATCHED)
        observer.wait_for_state('WAITING', node, 'no image')
        observer.wait_for_match(observer.camera, node)
        tick = Clock()
        tick.clock.sec = 1000
        clock.publish(tick)
        observer.wait(lambda: observer.diagnostics[-1]['stamp'] == 1000 * 10 ** 9, 'time', node)
        observer.show(camera_image(1, stamp=998_500_000_000))
        observer.wait(lambda: observer.diagnostics[-1]['last age [s]'] == '1.5000', 'age', node)


def test_vla_action_and_vla_status_report_a_result_with_its_ages() -> None:
    messages = pytest.importorskip('vla_ros_msgs.msg', reason='vla_ros_msgs is not built')
    with running_node('delay=0.01', instruction='task 5', status__period='0.05') as (
            node, observer):
        observer.wait_for_state('WAITING', node, 'no image')
        actions, statuses = [], []
        observer.listen(messages.VlaAction, '/vla/action', RELIABLE, actions.append)
        observer.listen(messages.VlaStatus, '/vla/status', LATCHED, statuses.append)
        observer.wait_for_match(observer.camera, node)
        observer.wait(lambda: statuses, 'the latched status', node)
        stamp = observer.node.get_clock().now().nanoseconds - 10 ** 9
        observer.show(camera_image(7, stamp))
        observer.wait(lambda: actions, 'a vla/action', node)
        action = actions[0]
        assert action.header == observer.commands[0].header
        assert (action.instruction, action.instruction_version) == ('task 5', 0)
        assert action.unnorm_key == 'fake_dataset'
        assert action.action_shape.tolist() == [1, 7]
        assert action.action.tolist() == list(observer.commands[0].position)
        np.testing.assert_allclose(action.normalized_action, np.array(action.action) / 255)
        assert action.token_ids.tolist() == list(range(31744, 31751))
        assert action.bins.tolist() == list(range(7))
        assert action.margins.tolist() == [1.0] * 7
        assert (action.drafted_tokens, action.accepted_tokens) == (6, 4)
        assert (action.stage_names, action.stage_ms.tolist()) == (['sleep'], [10.0])
        ages = [action.age_received, action.age_inference_started, action.age_inference_ended,
                action.age_published]
        assert 1.0 < ages[0] < ages[1] < ages[1] + 0.01 <= ages[2] < ages[3] < 5.0
        published = action.published.sec * 10 ** 9 + action.published.nanosec
        assert (published - stamp) / 1e9 == pytest.approx(ages[3])
        observer.wait(lambda: statuses[-1].state == 'RUNNING', 'RUNNING', node)
        status = statuses[-1]
        assert (status.frames_received, status.commands_sent) == (1, 1)
        assert status.last_age == pytest.approx(ages[3], abs=1e-3)
        assert (status.device, status.dtype, status.attention) == ('cpu', 'float32', 'none')


def test_a_late_subscriber_gets_only_the_last_status() -> None:
    messages = pytest.importorskip('vla_ros_msgs.msg', reason='vla_ros_msgs is not built')
    with running_node(status__period='2.0') as (node, observer):
        observer.wait_for_state('WAITING', node, 'no instruction')
        statuses = []
        deep = QoSProfile(depth=10, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        observer.listen(messages.VlaStatus, '/vla/status', deep, statuses.append)
        observer.wait(lambda: statuses, 'the latched status', node)
        assert statuses[0].state == 'WAITING'


def test_rates_in_the_status_are_measured() -> None:
    """The camera has 20 Hz, an inference takes 0.25 s."""
    with running_node('delay=0.25', instruction='task 1', status__period='0.05') as (
            node, observer):
        observer.wait_for_state('WAITING', node, 'no image')
        observer.wait_for_match(observer.camera, node)
        observer.node.create_timer(0.05, lambda: observer.show(camera_image(1)))
        observer.wait(lambda: int(observer.diagnostics[-1]['commands sent']) >= 8, '8', node)
        status = observer.diagnostics[-1]
        assert 10 < float(status['camera rate [Hz]']) < 25
        assert 2 < float(status['inference rate [Hz]']) < 4.1
        assert 2 < float(status['command rate [Hz]']) < 4.1
