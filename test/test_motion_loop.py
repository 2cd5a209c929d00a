# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The thread of the motion loop ticks by simulated time, without an executor."""

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
_TIMEOUT = 20.0


@pytest.fixture
def node():
    """Yield a node with simulated time and without an executor."""
    context = Context()
    rclpy.init(context=context, domain_id=next_domain())
    found = rclpy.create_node('simulated', context=context, parameter_overrides=[
        Parameter('use_sim_time', value=True)])
    yield found
    found.destroy_node()
    context.try_shutdown()


def test_simulated_time_drives_ticks_without_an_executor(node):
    """Every second step of the clock is a tick, also after the clock was set back."""
    ticks, periods = [], []

    def now():
        return node.get_clock().now().nanoseconds / 1e9

    emergency_stop = node.create_subscription(Bool, 'arm/estop', lambda _: None, 1,
                                              callback_group=LoopGroup())
    loop = MotionLoop(node, [emergency_stop], lambda: None, lambda: ticks.append(now()), _PERIOD,
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
            # The first ticks catch up with the new time.
            periods.append(np.diff(ticks[-8:]))
    finally:
        loop.end()
        thread.join(_TIMEOUT)
    assert not thread.is_alive()
    np.testing.assert_allclose(periods, np.full((2, 7), _PERIOD), atol=1e-6)


def wait_until(condition):
    """Poll a condition that no message announces."""
    pause = threading.Event()
    end = time.monotonic() + _TIMEOUT
    while not condition():
        assert time.monotonic() < end, f'not within {_TIMEOUT} s'
        pause.wait(0.001)
