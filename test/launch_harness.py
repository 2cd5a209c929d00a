# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Mixins of launch tests: a node of the test, and restoring of the environment."""

import os
import threading

from domains import next_domain
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.task import Future

#: Timeout of every wait in seconds, for a busy machine.
DEADLINE = 120.0

_ENVIRONMENT = dict(os.environ)


class WithNode:
    """A test case with a node, ``self.node``, that spins during each test."""

    #: The domain of the launched node.
    domain = next_domain()

    def setUp(self):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = rclpy.create_node('launch_test', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.leaving = Future()
        self.spinning = threading.Thread(target=self.executor.spin_until_future_complete,
                                         args=(self.leaving,))
        self.spinning.start()

    def tearDown(self):
        # In this order, as rclpy does not protect a thread that still spins.
        self.leaving.set_result(None)
        self.spinning.join()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


class RestoresEnvironment:
    """A test case after the shutdown that undoes the changes of launch to os.environ."""

    @classmethod
    def tearDownClass(cls):
        os.environ.clear()
        os.environ.update(_ENVIRONMENT)
