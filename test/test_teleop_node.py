# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The teleoperation node calls ~/resume when that service is discovered."""

import time

from domains import next_domain
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger
from vla_ros.teleop import node as teleop_node
from vla_ros.teleop.node import TeleopNode

DEADLINE = 30.0


@pytest.fixture
def graph(monkeypatch):
    """Yield the node of a keyboard and its executor."""
    monkeypatch.setattr(teleop_node, '_DISCOVERY', DEADLINE)
    rclpy.init(domain_id=next_domain())
    node, executor = TeleopNode('keyboard'), SingleThreadedExecutor()
    executor.add_node(node)
    yield node, executor
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


def serve_resume(executor):
    """Serve ~/resume; return the list of calls, and the node."""
    calls = []

    def resume(request, response):
        calls.append(request)
        response.success = True
        return response

    server = rclpy.create_node('vla_inference_node')
    server.create_service(Trigger, '~/resume', resume)
    executor.add_node(server)
    return calls, server


def spin_until(executor, condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        executor.spin_once(timeout_sec=0.05)


def press_c_before_discovery(node, executor):
    node.keyboard.press('c', time.monotonic())
    spin_until(executor, lambda: node._resume_by is not None)


def test_resume_is_called_as_soon_as_its_service_is_discovered(graph):
    node, executor = graph
    press_c_before_discovery(node, executor)
    calls, server = serve_resume(executor)
    spin_until(executor, lambda: calls)
    assert len(calls) == 1 and node._resume_by is None
    server.destroy_node()


def test_a_takeover_cancels_a_pending_resume(graph):
    node, executor = graph
    press_c_before_discovery(node, executor)
    node.keyboard.press('t', time.monotonic())
    spin_until(executor, lambda: node._resume_by is None)
    node.keyboard.press('x', time.monotonic())
    calls, server = serve_resume(executor)
    spin_until(executor, node._resume.service_is_ready)
    executor.spin_once(timeout_sec=0.2)
    node.send()
    assert not calls and node._resume_by is None
    server.destroy_node()
