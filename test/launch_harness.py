# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What launch tests share: someone beside the launched node, and an environment put back."""

import os
import threading

from domains import next_domain
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.task import Future

#: Seconds that anything may take on a busy machine.
DEADLINE = 120.0

_ENVIRONMENT = dict(os.environ)


class Beside:
    """Of a test case: a node of its own, ``self.node``, that spins while each test runs."""

    #: Where the launched node is, too.
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
        # In this order: rclpy protects no thread that still spins.
        self.leaving.set_result(None)
        self.spinning.join()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


class Afterwards:
    """Of a test case after the shutdown: launch has changed the environment of this process."""

    @classmethod
    def tearDownClass(cls):
        os.environ.clear()
        os.environ.update(_ENVIRONMENT)
