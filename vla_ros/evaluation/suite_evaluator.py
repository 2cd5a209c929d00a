# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Episodes of LIBERO over DDS: initial state, instruction, actions, success by the benchmark."""

from dataclasses import dataclass
from dataclasses import field
import re
import time
from typing import Any

from lifecycle_msgs.msg import Transition
import numpy as np
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from vla_ros.evaluation.evaluator import Evaluator
from vla_ros.evaluation.evaluator import TrialError
from vla_ros.ros.qos import RELIABLE
from vla_ros.util.processes import Processes
from vla_ros.worlds.libero.suites import step_limit
from vla_ros.worlds.libero.suites import TaskName

#: Seconds of wall time within which the node has to give an action.
_ACTION_TIMEOUT = 300.0
#: Images of a filmstrip.
_STRIP_LENGTH = 8
_PROGRESS = re.compile(r'.*: after (\d+) actions')


@dataclass(frozen=True)
class SuiteEpisode:
    """
    How one episode went.

    :param state: initial state.
    :param actions: number of actions until the success or the end.
    :param held: how often the node held the arm, by its reason.
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


class SuiteEvaluator(Evaluator):
    """Restores initial states, activates the node and asks the benchmark whether it succeeded."""

    timeout = 600.0  # each task has a world of its own, which takes long to build

    def __init__(self, processes: Processes, context: Context) -> None:
        """Join the graph of a pair."""
        super().__init__(processes, context)
        self._node_parameters = self.create_client(
            SetParameters, '/vla_inference_node/set_parameters')
        self._images: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self.create_subscription(Image, '/camera/image_raw', self._on_image, RELIABLE)

    def wait_for_robot(self) -> None:
        """Wait for the robot, whose world takes long to build."""
        self._until(self._reset.service_is_ready, 'no simulated robot')

    def run_state(self, task: TaskName, state: int) -> SuiteEpisode:
        """
        Run one episode from an initial state.

        :raises TrialError: robot or node do not work.
        """
        instruction = self._restore(task, state)
        before = self.holds.copy()
        self._images, self._actions = [], []
        if not self._transit(Transition.TRANSITION_ACTIVATE):
            raise TrialError('the inference node cannot be activated')
        began = last = time.monotonic()
        actions, limit = 0, step_limit(task.suite)
        while True:
            self.spin(0.2)
            response: Trigger.Response = self._ask(self._success)
            found = _PROGRESS.fullmatch(response.message)
            assert found is not None, response.message
            if int(found[1]) > actions:
                actions, last = int(found[1]), time.monotonic()
            if response.success or actions >= limit:
                break
            if time.monotonic() - last > _ACTION_TIMEOUT:
                raise TrialError(f'no action for {_ACTION_TIMEOUT:g} s in {task}, state {state}')
        self._transit(Transition.TRANSITION_DEACTIVATE)
        return SuiteEpisode(
            task, state, instruction, response.success and actions <= limit, actions,
            time.monotonic() - began, dict(self.holds - before), self._strip(),
            np.array(self._actions))

    def _restore(self, task: TaskName, state: int) -> str:
        if self._is_active:
            self._transit(Transition.TRANSITION_DEACTIVATE)
        self._set(self._sim_parameters, world=str(task), state=state)
        response: Trigger.Response = self._ask(self._reset)
        if not response.success:
            raise TrialError(f'the simulated robot: {response.message}')
        self._set(self._node_parameters, instruction=response.message)
        return str(response.message)

    def _set(self, client: Any, **values: object) -> None:
        response = self._ask(client, SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()
                        for name, value in values.items()]))
        for result in response.results:
            if not result.successful:
                raise TrialError(f'{client.srv_name}: {result.reason}')

    def _strip(self) -> list[np.ndarray]:
        count = len(self._images)
        if not count:
            return []
        indices = sorted({round(index) for index in np.linspace(0, count - 1, _STRIP_LENGTH)})
        return [self._images[index] for index in indices]

    def _on_image(self, message: Image) -> None:
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        self._images.append(pixels[::-1, ::-1].copy())  # as the model sees it

    def _on_action(self, message: Any) -> None:
        super()._on_action(message)
        self._actions.extend(np.array(message.action).reshape(message.action_shape))
