# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Runs one task at a time, and holds the arm when it ends."""

from collections.abc import Callable
from collections.abc import Sequence
import logging
import threading
import time

from vla_ros.control.command_gate import CommandContext
from vla_ros.control.command_gate import CommandGate
from vla_ros.control.task import Outcome
from vla_ros.control.task import rest_time
from vla_ros.control.task import RestDetector
from vla_ros.control.task import Task
from vla_ros.control.task import TaskGoal
from vla_ros.control.task import TaskResult
from vla_ros.errors import VlaError
from vla_ros.robot.hold import Reason
from vla_ros.safety.state_machine import ControlMode
from vla_ros.safety.state_machine import Mode

_logger = logging.getLogger(__name__)


class TaskRefused(VlaError):
    """A task that cannot be started now; the sentence says why."""


class TaskRunner:
    """
    Starts, watches and ends tasks.

    A task ends once: under the lock it is claimed, the arm is held, and its result is set, in that
    order. So whoever sees a result sees an arm that is held.
    """

    def __init__(self, gate: CommandGate, now: Callable[[], int], count_actions: Callable[[], int],
                 publish_changes: Callable[[], None]) -> None:
        """
        Start without a task.

        :param now: gives nanoseconds of ROS time.
        :param count_actions: gives how many inference results were acted upon since the start.
        :param publish_changes: publishes the status if anything in it is news.
        """
        self._gate = gate
        self._now = now
        self._count_actions = count_actions
        self._publish_changes = publish_changes
        self._lock = threading.RLock()
        self._task: Task | None = None
        self._actions_before = 0
        self._rest = RestDetector()
        self._is_closed = False

    @property
    def task(self) -> Task | None:
        """The task that runs."""
        return self._task

    @property
    def actions(self) -> int:
        """Inference results that were acted upon since the task began."""
        return self._count_actions() - self._actions_before

    def refusal(self, goal: TaskGoal) -> str:
        """Return why a task cannot be started now; empty if it can."""
        if goal.condition == 'rest' and not self._rest.is_measured(time.monotonic()):
            return 'no joint_states are received, and success by rest needs them'
        context = self._gate.context
        if goal.condition == 'rest' and context.state.shadow:
            return ('the arm is in shadow and never moves: choose another success than rest, or '
                    'call ~/rearm first to take the arm')
        if context.state.control is not ControlMode.AUTONOMOUS:
            return (f'{context.state.control} by a teleoperator: call ~/resume once the deadman '
                    'is released')
        return _refuse(context)

    def start(self, goal: TaskGoal) -> Task:
        """
        Start a task; the one that runs is preempted, and the arm is held between the two.

        :raises TaskRefused: the arm must not move now; the task that runs goes on.
        """
        with self._lock:
            refusal = 'the node ends' if self._is_closed else self.refusal(goal)
            if refusal:
                raise TaskRefused(refusal)
            self._end(Outcome.PREEMPTED, f'a newer task: {goal.instruction.strip()}')
            version = self._gate.begin_task(goal.instruction.strip(), _refuse)
            if version is None:  # stopped just now
                raise TaskRefused(self.refusal(goal) or 'the arm was stopped')
            now = time.monotonic()
            self._actions_before = self._count_actions()
            self._rest.begin(now)
            self._task = task = Task(goal, version, self._now(), now)
        _logger.info('task: %r, at most %g s, success by %s', goal.instruction, goal.timeout,
                     goal.condition)
        self._publish_changes()
        return task

    def end(self, outcome: Outcome, reason: str, task: Task | None = None) -> bool:
        """
        End the task that runs, and hold the arm.

        :param task: end only this one.
        :returns: whether there was one.
        """
        with self._lock:
            if task is not None and task is not self._task:
                return False
            return self._end(outcome, reason)

    def close(self) -> None:
        """End the task that runs, and start no other."""
        with self._lock:
            self._is_closed = True
            self._end(Outcome.FAILED, 'the node ends')

    def joints(self, names: Sequence[str], positions: Sequence[float]) -> None:
        """Accept measured joint positions, in rad and m."""
        self._rest.take(dict(zip(names, positions)), time.monotonic())

    def watch(self) -> None:
        """End the task that runs if there is a reason to; called many times a second."""
        with self._lock:
            task = self._task
            if task is not None:
                ending = self._find_ending(task)
                if ending is not None:
                    self._end(*ending)

    def _find_ending(self, task: Task) -> tuple[Outcome, str] | None:
        context, now = self._gate.context, time.monotonic()
        refusal = _refuse(context)
        if refusal:
            is_stop = context.state.mode is not Mode.FAULT and (
                context.state.active or context.state.stopped)
            return Outcome.STOPPED if is_stop else Outcome.FAILED, refusal
        if context.version != task.version:
            return Outcome.PREEMPTED, f'another instruction: {context.instruction}'
        if task.success:
            return Outcome.SUCCEEDED, task.success
        # An arm that is held, or that a person moves, does not rest because its work is done.
        if not self.actions or context.state.mode is not Mode.RUNNING \
                or context.state.control is not ControlMode.AUTONOMOUS:
            self._rest.begin(now)
        rested = self._rest.duration(now)
        if task.goal.condition == 'rest' and rested >= rest_time(task.goal):
            return Outcome.SUCCEEDED, f'the arm rested for {rested:.2f} s'
        if now - task.start >= task.goal.timeout:
            reason = f'{task.goal.timeout:g} s are over'
            return (Outcome.SUCCEEDED if task.goal.condition == 'timeout' else Outcome.TIMED_OUT,
                    reason)
        return None

    def _end(self, outcome: Outcome, reason: str) -> bool:
        task, self._task = self._task, None
        if task is None:
            return False
        self._gate.end_task(task.version, f'{outcome}: {reason}')
        self._publish_changes()
        result = TaskResult(outcome, reason, task.stamp, self._now(),
                            time.monotonic() - task.start, self.actions)
        _logger.info('task ended: %s: %s, after %.2f s', outcome, reason, result.duration)
        task.end(result)
        return True


def _refuse(context: CommandContext) -> str:
    """Return why a task cannot run in a state; empty if it can."""
    state = context.state
    if state.pressed or state.mode is Mode.ESTOP:
        return 'emergency stop: release it and call ~/rearm'
    if state.mode is Mode.FAULT:
        return f'{state.reason}: {context.detail}'
    if not state.is_loaded:
        return 'no policy is loaded: configure the node'
    if not state.active:
        return 'the node is not active'
    if state.mode is Mode.HOLD and state.reason is not None \
            and not state.reason.automatic and state.reason is not Reason.TASK_ENDED:
        return f'{state.reason}: {context.detail}; call ~/rearm'
    return ''
