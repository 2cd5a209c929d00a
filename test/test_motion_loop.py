# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The motion's own thread: simulated time passes, and the arm moves by it, whatever else waits."""

import math
import threading
import time

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from domains import next_domain  # noqa: E402, I100
from rclpy.context import Context  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.time import Time  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402

from vla_ros.ros.motion_loop import LoopGroup  # noqa: E402
from vla_ros.ros.motion_loop import MotionLoop  # noqa: E402

_STEP, _PERIOD = 0.01, 0.02
_PATIENCE = 20.0


@pytest.fixture
def node():
    """Give a node that lives by simulated time, and that nobody spins."""
    context = Context()
    rclpy.init(context=context, domain_id=next_domain())
    found = rclpy.create_node('simulated', context=context, parameter_overrides=[
        Parameter('use_sim_time', value=True)])
    yield found
    found.destroy_node()
    context.try_shutdown()


def test_simulated_time_and_its_ticks_wait_for_no_executor(node):
    """Every second step of the clock is a tick, also after it was set back."""
    ticks, paces = [], []

    def now():
        return node.get_clock().now().nanoseconds / 1e9

    button = node.create_subscription(Bool, 'arm/estop', lambda _: None, 1,
                                      callback_group=LoopGroup())
    loop = MotionLoop(node, [button], lambda: None, lambda: ticks.append(now()), _PERIOD,
                      lambda: math.inf)
    clock = node.create_publisher(Clock, '/clock', 10)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        loop.begin()
        wait_until(lambda: clock.get_subscription_count() == 1)
        for start in (100.0, 50.0):
            for step in range(20):
                moment = Time(nanoseconds=round(1e9 * (start + step * _STEP)))
                clock.publish(Clock(clock=moment.to_msg()))
                wait_until(lambda: now() == moment.nanoseconds / 1e9)
            wait_until(lambda: ticks[-1] > start + 18 * _STEP - 1e-3)
            # The first ones catch up with a time that has only just begun.
            paces.append(np.diff(ticks[-8:]))
    finally:
        loop.end()
        thread.join(_PATIENCE)
    assert not thread.is_alive()
    np.testing.assert_allclose(paces, np.full((2, 7), _PERIOD), atol=1e-6)


def wait_until(condition):
    """Wait until something holds that no message tells of."""
    pause = threading.Event()
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end, f'not within {_PATIENCE} s'
        pause.wait(0.001)
