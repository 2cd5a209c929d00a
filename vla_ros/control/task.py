# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""One task of an arm: what is to be done, how long at most, when it is done, what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
import math
import threading

from vla_ros.data.instructions import check_instruction
from vla_ros.data.instructions import InstructionError
from vla_ros.errors import ParameterError

#: Conditions of success.
CONDITIONS = ('timeout', 'topic', 'rest', 'service')
#: Those that name something.
_NAMED = ('topic', 'service')
#: Seconds at rest where none are given.
_REST_TIME = 1.0
#: Motion of a joint that ends a rest, in rad or m: above the noise of encoders.
_REST_TOLERANCE = 0.005
#: Seconds after which a measurement says nothing of the present.
_JOINTS_TIMEOUT = 0.5
#: Longest timeout, in seconds: a day.
_LONGEST = 86400.0


class Outcome(str, Enum):
    """What came of a task; the values are those of RunTask's result."""

    SUCCEEDED = 'succeeded'
    TIMED_OUT = 'timed out'
    CANCELED = 'canceled'
    PREEMPTED = 'preempted'
    STOPPED = 'stopped'
    FAILED = 'failed'

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class TaskGoal:
    """
    What is to be done.

    :param timeout: longest duration, in seconds.
    :param condition: one of :data:`CONDITIONS`.
    :param name: topic or service of the condition, if it has one.
    :param rest_time: seconds at rest of condition ``rest``; 0 for one second.
    """

    instruction: str
    timeout: float
    condition: str
    name: str = ''
    rest_time: float = 0.0

    def __post_init__(self) -> None:
        """
        Reject a goal that cannot be run.

        :raises ParameterError: a field is out of its range.
        """
        try:
            check_instruction(self.instruction)
        except InstructionError as error:
            raise ParameterError('instruction', self.instruction[:40], f'text ({error})') from None
        if not self.instruction.strip():
            raise ParameterError('instruction', self.instruction, 'a text that is not empty')
        if not 0.0 < self.timeout <= _LONGEST:
            raise ParameterError('timeout', self.timeout, f'above 0 and at most {_LONGEST:g} s')
        if self.condition not in CONDITIONS:
            raise ParameterError('success', self.condition, f'one of {", ".join(CONDITIONS)}')
        if bool(self.name) != (self.condition in _NAMED):
            raise ParameterError('success_name', self.name, f'set for {" and ".join(_NAMED)}, '
                                                            'and empty otherwise')
        if not 0.0 <= self.rest_time < self.timeout:
            raise ParameterError('rest_time', self.rest_time, 'at least 0 and below the timeout')


@dataclass(frozen=True)
class TaskResult:
    """
    What came of a task.

    :param started: nanoseconds of ROS time.
    :param ended: nanoseconds of ROS time.
    :param duration: seconds by the steady clock.
    :param actions: inference results that were acted upon.
    """

    outcome: Outcome
    reason: str
    started: int
    ended: int
    duration: float
    actions: int


class Task:
    """A task that was started: it ends once, with one result."""

    def __init__(self, goal: TaskGoal, version: int, stamp: int, start: float) -> None:
        """
        Start.

        :param version: of its instruction.
        :param stamp: nanoseconds of ROS time.
        :param start: monotonic seconds.
        """
        self.goal = goal
        self.version = version
        self.stamp = stamp
        self.start = start
        #: Result, once it has ended.
        self.result: TaskResult | None = None
        #: Set when there is a result.
        self.ended = threading.Event()
        self._succeeded = ''

    @property
    def success(self) -> str:
        """Why it has succeeded; empty while it has not."""
        return self._succeeded

    def succeed(self, reason: str) -> None:
        """Record that the condition of a topic or a service is met."""
        self._succeeded = reason

    def end(self, result: TaskResult) -> None:
        """Set the result."""
        self.result = result
        self.ended.set()


class RestDetector:
    """Measures for how long no joint has moved."""

    def __init__(self) -> None:
        """Start without a measurement."""
        self._lock = threading.Lock()
        self._positions: dict[str, float] = {}
        self._since = self._taken = -math.inf

    def take(self, positions: Mapping[str, float], now: float) -> None:
        """
        Accept measured positions of some joints.

        :param positions: in rad or m.
        :param now: monotonic seconds.
        """
        with self._lock:
            self._taken = now
            for name, position in positions.items():
                known = self._positions.get(name)
                # A NaN is no rest.
                if known is None or not abs(position - known) <= _REST_TOLERANCE:
                    self._positions[name] = position
                    self._since = now

    def begin(self, now: float) -> None:
        """Count from now on."""
        with self._lock:
            self._since = now

    def is_measured(self, now: float) -> bool:
        """Whether measurements come in."""
        return now - self._taken <= _JOINTS_TIMEOUT

    def duration(self, now: float) -> float:
        """Return the seconds since the last motion; 0 while none is measured."""
        with self._lock:
            return max(0.0, now - self._since) if self.is_measured(now) else 0.0


def rest_time(goal: TaskGoal) -> float:
    """Return the seconds that joints must rest."""
    return goal.rest_time or _REST_TIME
