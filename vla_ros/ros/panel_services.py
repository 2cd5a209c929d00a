# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The services that the operator page offers: those that are on the graph."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from rclpy.client import Client
from rclpy.node import Node
from std_srvs.srv import SetBool
from std_srvs.srv import Trigger

from vla_ros.ros import messages
from vla_ros.server.panel.robot import Outcome
from vla_ros.server.panel.robot import TaskRequest

#: The page's names of Trigger services of the inference node.
_TRIGGERS = ('hold', 'rearm', 'resume', 'cancel_task')
#: The page's names of what ``~/shadow`` is called with.
_SHADOW = {'shadow': True, 'live': False}
_RECORDER = ('start', 'stop', 'success', 'failure', 'discard')


class PanelServices:
    """Knows which services are there, and calls them."""

    def __init__(self, node: Node, inference: str, recorder: str) -> None:
        """
        Prepare; vla_ros_msgs must be there.

        :param inference: name of the inference node.
        :param recorder: of vla_record.
        """
        shadow = node.create_client(SetBool, f'{inference}/shadow')
        self._clients: Mapping[str, Client] = {
            **{name: node.create_client(Trigger, f'{inference}/{name}') for name in _TRIGGERS},
            **{f'record/{name}': node.create_client(Trigger, f'{recorder}/{name}')
               for name in _RECORDER},
            **{name: shadow for name in _SHADOW},
            'start_task': node.create_client(messages.StartTask, f'{inference}/start_task')}
        self._available: tuple[str, ...] = ()

    @property
    def available(self) -> tuple[str, ...]:
        """The page's names of those that were there at the last update."""
        return self._available

    def update(self) -> None:
        """Find which are there."""
        self._available = tuple(name for name, client in self._clients.items()
                                if client.service_is_ready())

    def call(self, name: str) -> 'Future[Outcome]':
        """Call one of those that are there; ``start_task`` is :meth:`start_task`."""
        request = (SetBool.Request(data=_SHADOW[name]) if name in _SHADOW else
                   Trigger.Request())
        return self._send(name, request)

    def start_task(self, task: TaskRequest) -> 'Future[Outcome]':
        """Start a task."""
        return self._send('start_task', messages.StartTask.Request(
            instruction=task.instruction, timeout=float(task.timeout), success=task.success,
            success_name=task.success_name, rest_time=float(task.rest_time)))

    def _send(self, name: str, request: Any) -> 'Future[Outcome]':
        outcome: Future[Outcome] = Future()
        outcome.set_running_or_notify_cancel()  # it is never cancelled: the response may come late

        def finish(reply: Any) -> None:
            error = reply.exception()
            if error is not None:
                outcome.set_exception(error)
            else:
                response = reply.result()
                outcome.set_result(Outcome(response.success, response.message))

        self._clients[name].call_async(request).add_done_callback(finish)
        return outcome
