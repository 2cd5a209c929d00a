# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The suites of LIBERO and LIBERO-PRO: their names, sizes and step limits."""

from dataclasses import dataclass
import re

from vla_ros.errors import ParameterError

#: Largest number of actions of an episode, by suite: openvla/openvla @ c8f03f4,
#: experiments/robot/libero/run_libero_eval.py.
STEP_LIMITS = {'libero_spatial': 220, 'libero_object': 280, 'libero_goal': 300,
               'libero_10': 520, 'libero_90': 400}
#: Tasks of a suite; each variant of LIBERO-PRO has ten.
_TASKS = {'libero_90': 90}
#: Suffixes of LIBERO-PRO: language, object, position and task are replaced.
_VARIANTS = ('lan', 'object', 'swap', 'task')
_WITH_VARIANTS = ('libero_spatial', 'libero_object', 'libero_goal', 'libero_10')
SUITES = (*STEP_LIMITS, *(f'{suite}_{variant}' for suite in _WITH_VARIANTS
                          for variant in _VARIANTS))
#: Seconds from one action to the next.
ACTION_PERIOD = 0.05
#: Steps of an open gripper and no motion with which an episode begins: objects fall into place.
SETTLING_STEPS = 10
#: Recorded initial states of a task.
INITIAL_STATES = 50


@dataclass(frozen=True)
class TaskName:
    """
    A task of a suite.

    :param suite: one of :data:`SUITES`.
    :param number: zero-based.
    """

    suite: str
    number: int

    def __post_init__(self) -> None:
        """Reject what is no task."""
        check_suite(self.suite)
        if not 0 <= self.number < task_count(self.suite):
            raise ParameterError(f'task of {self.suite}', self.number,
                                 f'a whole number from 0 to {task_count(self.suite) - 1}')

    @classmethod
    def parse(cls, text: str) -> 'TaskName':
        """
        Read ``libero_spatial/3``.

        :raises ParameterError: it names no task.
        """
        found = re.fullmatch(r'(\w+)/(\d+)', text)
        if found is None:
            raise ParameterError('world', text, 'SUITE/TASK, such as libero_spatial/3, with one '
                                 f'of the suites {", ".join(SUITES)}')
        return cls(found[1], int(found[2]))

    def __str__(self) -> str:
        """Write it as it is parsed."""
        return f'{self.suite}/{self.number}'


def check_suite(suite: str) -> str:
    """
    Return a suite's name.

    :raises ParameterError: there is no such suite.
    """
    if suite not in SUITES:
        raise ParameterError('suite', suite, f'one of {", ".join(SUITES)}')
    return suite


def task_count(suite: str) -> int:
    """Return the number of tasks of a suite."""
    return _TASKS.get(suite, 10)


def step_limit(suite: str) -> int:
    """Return the largest number of actions of an episode; a variant has that of its suite."""
    return next(limit for name, limit in STEP_LIMITS.items()
                if suite == name or suite.removeprefix(f'{name}_') in _VARIANTS)
