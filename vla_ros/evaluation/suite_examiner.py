# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Episodes of LIBERO over DDS: initial state, instruction, actions, the benchmark's verdict."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
import re
import time
from typing import Any

from lifecycle_msgs.msg import Transition
import numpy as np
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from vla_ros.evaluation.examiner import Examiner
from vla_ros.evaluation.examiner import TrialError
from vla_ros.ros.qos import RELIABLE
from vla_ros.util.processes import Processes
from vla_ros.worlds.libero.suites import step_limit
from vla_ros.worlds.libero.suites import TaskName

#: Seconds on the wall in which at least one answer has to come.
_PATIENCE = 300.0
#: Images of a filmstrip.
_FRAMES = 8
_VERDICT = re.compile(r'.*: after (\d+) actions')


@dataclass(frozen=True)
class SuiteEpisode:
    """
    How one episode went.

    :param state: initial state.
    :param actions: so many were given, until the success or the end.
    :param held: how often the node held the arm, and why.
    :param frames: uint8 (H, W, 3) each, in order.
    :param commands: float64 (T, 7), the actions as they left the node.
    """

    task: TaskName
    state: int
    instruction: str
    succeeded: bool
    actions: int
    seconds: float
    held: dict[str, int]
    frames: list[np.ndarray] = field(repr=False)
    commands: np.ndarray = field(repr=False)


class SuiteExaminer(Examiner):
    """Restores initial states, activates the node and asks the benchmark for its verdict."""

    patience = 600.0  # another task is another world, which takes long to build

    def __init__(self, processes: Processes, context: Context) -> None:
        """Join the graph of a pair."""
        super().__init__(processes, context)
        self._node_parameters = self.create_client(
            SetParameters, '/vla_inference_node/set_parameters')
        self._pictures: list[np.ndarray] = []
        self._given: list[np.ndarray] = []
        self.create_subscription(Image, '/camera/image_raw', self._on_image, RELIABLE)

    def await_robot(self) -> None:
        """Wait for the robot, whose world takes long to build."""
        self._until(self._reset.service_is_ready, 'no simulated robot')

    def play(self, task: TaskName, state: int) -> SuiteEpisode:
        """
        Play one episode.

        :raises TrialError: robot or node do not work.
        """
        instruction = self._restore(task, state)
        before = self.holds.copy()
        self._pictures, self._given = [], []
        if not self._transit(Transition.TRANSITION_ACTIVATE):
            raise TrialError('the inference node cannot be activated')
        began = last = time.monotonic()
        actions, limit = 0, step_limit(task.suite)
        while True:
            self.spin(0.2)
            verdict: Trigger.Response = self._ask(self._success)
            found = _VERDICT.fullmatch(verdict.message)
            assert found is not None, verdict.message
            if int(found[1]) > actions:
                actions, last = int(found[1]), time.monotonic()
            if verdict.success or actions >= limit:
                break
            if time.monotonic() - last > _PATIENCE:
                raise TrialError(f'no answer for {_PATIENCE:g} s in {task}, state {state}')
        self._transit(Transition.TRANSITION_DEACTIVATE)
        return SuiteEpisode(
            task, state, instruction, verdict.success and actions <= limit, actions,
            time.monotonic() - began, dict(self.holds - before), self._strip(),
            np.array(self._given))

    def _restore(self, task: TaskName, state: int) -> str:
        if self._is_active:
            self._transit(Transition.TRANSITION_DEACTIVATE)
        self._set(self._parameters, world=str(task), state=state)
        answer: Trigger.Response = self._ask(self._reset)
        if not answer.success:
            raise TrialError(f'the simulated robot: {answer.message}')
        self._set(self._node_parameters, instruction=answer.message)
        return str(answer.message)

    def _set(self, client: Any, **values: object) -> None:
        answer = self._ask(client, SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()
                        for name, value in values.items()]))
        for result in answer.results:
            if not result.successful:
                raise TrialError(f'{client.srv_name}: {result.reason}')

    def _strip(self) -> list[np.ndarray]:
        count = len(self._pictures)
        places = sorted({round(place) for place in np.linspace(0, count - 1, _FRAMES)}
                        ) if count else []
        return [self._pictures[place] for place in places]

    def _on_image(self, message: Image) -> None:
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        self._pictures.append(pixels[::-1, ::-1].copy())  # as the model sees it

    def _on_action(self, message: Any) -> None:
        super()._on_action(message)
        self._given.extend(np.array(message.action).reshape(message.action_shape))


@contextmanager
def suite_examiner(processes: Processes, domain: int) -> Iterator[SuiteExaminer]:
    """Make an examiner on a ROS domain."""
    context = Context()
    # With rclpy's own handlers its context would be gone before the processes are.
    rclpy.init(context=context, domain_id=domain,
               signal_handler_options=SignalHandlerOptions.NO)
    found = SuiteExaminer(processes, context)
    try:
        yield found
    finally:
        found.close()
        context.try_shutdown()
