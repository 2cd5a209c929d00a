# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A client of run_task, like one of a behaviour tree."""

import threading
from typing import Any

from action_msgs.msg import GoalStatus
from node_harness import DEADLINE
from node_harness import NodeProcess
from node_harness import Observer
from rclpy.action import ActionClient
from rclpy.callback_groups import ReentrantCallbackGroup
from vla_ros_msgs.action import RunTask

STATUS = {GoalStatus.STATUS_SUCCEEDED: 'SUCCEEDED', GoalStatus.STATUS_CANCELED: 'CANCELED',
          GoalStatus.STATUS_ABORTED: 'ABORTED'}


class TaskClient:
    """Sends goals to a node, and keeps their results."""

    def __init__(self, observer: Observer, node: NodeProcess) -> None:
        self._node = node
        self._client = ActionClient(observer.node, RunTask, 'run_task',
                                    callback_group=ReentrantCallbackGroup())
        assert self._client.wait_for_server(DEADLINE), node.report('no action run_task')
        self.feedback: list[Any] = []
        # The server may discover the client later than the client the server, and its first
        # response is lost then: an empty goal, which is refused, until a response comes.
        assert any(self._responds() for _ in range(10)), node.report('run_task does not respond')

    def send(self, instruction: str = 'swing', timeout: float = 60.0, success: str = 'timeout',
             success_name: str = '', rest_time: float = 0.0) -> 'SentGoal':
        """Send a goal, and wait until it is accepted or refused."""
        goal = RunTask.Goal(instruction=instruction, timeout=timeout, success=success,
                            success_name=success_name, rest_time=rest_time)
        future = self._client.send_goal_async(
            goal, lambda message: self.feedback.append(message.feedback))
        return SentGoal(self._wait(future), self)

    def _responds(self) -> bool:
        done = threading.Event()
        future = self._client.send_goal_async(RunTask.Goal())
        future.add_done_callback(lambda _: done.set())
        return done.wait(2.0)

    def _wait(self, future: Any) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        assert done.wait(DEADLINE), self._node.report('run_task does not respond')
        return future.result()


class SentGoal:
    """A goal that was sent."""

    def __init__(self, handle: Any, client: TaskClient) -> None:
        self.handle = handle
        self._client = client
        #: Every received result.
        self.results: list[Any] = []
        self._future = None
        if handle.accepted:
            self._future = handle.get_result_async()
            self._future.add_done_callback(lambda future: self.results.append(future.result()))

    def cancel(self) -> bool:
        """Cancel it; return whether that was accepted."""
        response = self._client._wait(self.handle.cancel_goal_async())
        return bool(response.goals_canceling)

    def result(self) -> tuple[str, Any]:
        """Wait for its end; return the status of the goal and the result."""
        found = self._client._wait(self._future)
        return STATUS.get(found.status, str(found.status)), found.result
