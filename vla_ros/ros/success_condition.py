# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Conditions of a task's success that come from ROS: a topic, a service."""

from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from vla_ros.control.task import Task
from vla_ros.ros.qos import NEWEST

#: Seconds between two calls of the service.
_CALL_PERIOD = 0.5


class SuccessCondition:
    """Waits for the success of one task, until it is closed."""

    def __init__(self, node: Node, task: Task, group: CallbackGroup) -> None:
        """Subscribe to the topic, or begin to call the service, if the task names one."""
        self._node = node
        self._task = task
        self._pending: Future | None = None
        self._subscription: Any = None
        self._service: Any = None
        self._timer: Any = None
        name = task.goal.name
        if task.goal.condition == 'topic':
            # Matches reliable publishers, too.
            self._subscription = node.create_subscription(Bool, name, self._on_message, NEWEST,
                                                          callback_group=group)
        elif task.goal.condition == 'service':
            self._service = node.create_client(Trigger, name, callback_group=group)
            self._timer = node.create_timer(_CALL_PERIOD, self._call, callback_group=group,
                                            clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def task(self) -> Task:
        """The task."""
        return self._task

    def close(self) -> None:
        """Listen and call no more."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        if self._service is not None:
            self._node.destroy_client(self._service)
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _on_message(self, message: Bool) -> None:
        if message.data:
            self._task.succeed(f'true on {self._task.goal.name}')

    def _call(self) -> None:
        if self._task.success or self._pending is not None and not self._pending.done():
            return
        if self._service.service_is_ready():
            self._pending = self._service.call_async(Trigger.Request())
            self._pending.add_done_callback(self._on_response)

    def _on_response(self, future: Future) -> None:
        response = future.result()
        if response is not None and response.success:
            self._task.succeed(f'{self._task.goal.name}: {response.message or "success"}')
