# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The action run_task, and the services beside it."""

from collections.abc import Callable
import threading
import time
from typing import Any

from rclpy.action import ActionServer
from rclpy.action import CancelResponse
from rclpy.action import GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from vla_ros.control.controller import Controller
from vla_ros.control.task import Outcome
from vla_ros.control.task import Task
from vla_ros.control.task import TaskGoal
from vla_ros.control.task import TaskResult
from vla_ros.control.task_runner import TaskRefused
from vla_ros.errors import describe
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.ros import messages
from vla_ros.ros.success_condition import SuccessCondition

#: Seconds between two feedback messages.
_FEEDBACK_PERIOD = 0.1
#: Seconds between two looks at whether a task has ended.
_WATCH_PERIOD = 0.05
#: Seconds that a result waits for the black box of its end, and for the goal's own state.
_BLACK_BOX_TIMEOUT = 5.0
_CANCEL_TIMEOUT = 1.0
_POLL = 0.005


class TaskServer:
    """
    Runs the goals of a node.

    Each goal occupies one thread of the executor while it runs. A goal that is preempted leaves
    its own at once.
    """

    def __init__(self, node: Node, controller: Controller) -> None:
        """Offer the action and the services; vla_ros_msgs must be there."""
        self._node = node
        self._controller = controller
        self._tasks = controller.tasks
        self._lock = threading.Lock()
        self._condition: SuccessCondition | None = None
        # By goal id: the task, or why there is none.
        self._goals: dict[bytes, Task | str] = {}
        # Cancels, results and the watch wait for nobody, least of all for a goal that runs.
        self._group = ReentrantCallbackGroup()
        self._action = ActionServer(
            node, messages.RunTask, 'run_task', self._execute, goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted, cancel_callback=self._on_cancel,
            callback_group=self._group)
        node.create_service(messages.StartTask, '~/start_task', self._on_start_task,
                            callback_group=self._group)
        node.create_service(Trigger, '~/cancel_task', self._on_cancel_task,
                            callback_group=self._group)
        node.create_timer(_WATCH_PERIOD, self._watch, callback_group=self._group,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))

    def destroy(self) -> None:
        """Offer the action no more; before the node is destroyed."""
        self._action.destroy()

    def _goal(self, request: Any) -> TaskGoal:
        """
        Read a goal.

        :raises ParameterError: a field is out of its range.
        """
        goal = TaskGoal(request.instruction, request.timeout, request.success,
                        request.success_name, request.rest_time)
        if goal.name:
            try:
                self._node.resolve_topic_name(goal.name)
            except Exception as error:
                raise ParameterError('success_name', goal.name, f'a ROS name ({error})') from None
        return goal

    def _start(self, goal: TaskGoal) -> Task:
        """
        Start a task, and wait for its success from now on.

        :raises VlaError: it cannot be started.
        """
        task = self._tasks.start(goal)
        try:
            self._replace_condition(SuccessCondition(self._node, task, self._group))
        except Exception as error:  # the middleware refuses a name or a type
            self._tasks.end(Outcome.FAILED, describe(error), task)
            raise TaskRefused(f'success_name {goal.name}: {describe(error)}') from error
        self._set_instruction()
        return task

    def _replace_condition(self, condition: SuccessCondition | None) -> None:
        with self._lock:
            before, self._condition = self._condition, condition
        if before is not None:
            before.close()

    def _set_instruction(self) -> None:
        """Make the parameter say what is in force."""
        instruction = self._controller.instruction
        if self._node.get_parameter('instruction').value != instruction:
            self._node.set_parameters([Parameter('instruction', value=instruction)])

    def _watch(self) -> None:
        self._tasks.watch()
        with self._lock:
            condition = self._condition
            if condition is None or not condition.task.ended.is_set():
                return
            self._condition = None
        condition.close()
        self._set_instruction()

    def _on_goal(self, request: Any) -> GoalResponse:
        try:
            refusal = self._tasks.refusal(self._goal(request))
        except ParameterError as error:
            refusal = str(error)
        if refusal:
            self._node.get_logger().error(f'run_task: the goal is refused: {refusal}')
        return GoalResponse.REJECT if refusal else GoalResponse.ACCEPT

    def _on_accepted(self, handle: Any) -> None:
        started: Task | str
        try:
            started = self._start(self._goal(handle.request))
        except VlaError as error:
            started = str(error)
        with self._lock:
            self._goals[bytes(handle.goal_id.uuid)] = started
        handle.execute()

    def _on_cancel(self, handle: Any) -> CancelResponse:
        with self._lock:
            task = self._goals.get(bytes(handle.goal_id.uuid))
        if isinstance(task, Task) and self._tasks.end(Outcome.CANCELED, 'by its client', task):
            return CancelResponse.ACCEPT
        return CancelResponse.REJECT  # it has ended

    def _execute(self, handle: Any) -> Any:
        key = bytes(handle.goal_id.uuid)
        with self._lock:
            task = self._goals[key]
        boxes = self._count_boxes()
        result = messages.RunTask.Result()
        if isinstance(task, str):
            result.outcome, result.reason = str(Outcome.FAILED), task
            outcome = Outcome.FAILED
        else:
            while not task.ended.wait(_FEEDBACK_PERIOD):
                handle.publish_feedback(self._feedback(task))
            assert task.result is not None
            outcome = task.result.outcome
            result = _result(task.result, self._wait_for_box(boxes, outcome))
        self._finish(handle, outcome)
        with self._lock:
            del self._goals[key]
        return result

    def _finish(self, handle: Any, outcome: Outcome) -> None:
        """Set the final state of a goal."""
        if outcome is Outcome.SUCCEEDED:
            handle.succeed()
        elif outcome is Outcome.CANCELED and _wait(lambda: handle.is_cancel_requested,
                                                   _CANCEL_TIMEOUT):
            handle.canceled()
        else:
            handle.abort()

    def _feedback(self, task: Task) -> Any:
        status = self._controller.snapshot()
        return messages.RunTask.Feedback(
            elapsed=time.monotonic() - task.start, state=status.state, reason=status.reason,
            age=status.progress.last_age, actions_executed=self._tasks.actions)

    def _count_boxes(self) -> int:
        box = self._controller.black_box
        return 0 if box is None else len(box.written)

    def _wait_for_box(self, before: int, outcome: Outcome) -> str:
        """Return the black box that was written since, empty if there is none."""
        box = self._controller.black_box
        if box is None:
            return ''
        if outcome is not Outcome.PREEMPTED:  # that leaves its thread to the next one
            _wait(lambda: self._count_boxes() > before or not box.is_pending, _BLACK_BOX_TIMEOUT)
        files = box.written
        return str(files[-1]) if len(files) > before else ''

    def _on_start_task(self, request: Any, response: Any) -> Any:
        try:
            self._start(self._goal(request))
        except VlaError as error:
            response.message = str(error)
        response.success = not response.message
        return response

    def _on_cancel_task(self, request: Trigger.Request,
                        response: Trigger.Response) -> Trigger.Response:
        response.success = self._tasks.end(Outcome.CANCELED, '~/cancel_task was called')
        response.message = '' if response.success else 'no task runs'
        return response


def _result(result: TaskResult, black_box_file: str) -> Any:
    return messages.RunTask.Result(
        outcome=str(result.outcome), reason=result.reason, started=messages.stamp(result.started),
        ended=messages.stamp(result.ended), duration=result.duration,
        actions_executed=result.actions, black_box_file=black_box_file)


def _wait(condition: Callable[[], bool], timeout: float) -> bool:
    """Wait for something of which rclpy and the black box give no event."""
    end, pause = time.monotonic() + timeout, threading.Event()
    while not condition():
        if time.monotonic() > end:
            return False
        pause.wait(_POLL)
    return True
