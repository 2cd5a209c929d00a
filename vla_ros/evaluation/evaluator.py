# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Episodes over DDS: the node that sets up scenes and asks for the success."""

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import re
import time
from typing import Any
from typing import TypeVar

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_ros.errors import VlaError
from vla_ros.evaluation.pair import NODE
from vla_ros.ros.messages import VlaAction
from vla_ros.ros.qos import RELIABLE
from vla_ros.util.processes import Processes
from vla_ros.worlds.outcomes import Episode
from vla_ros.worlds.tasks import Task

#: Simulated seconds after which an episode is given up.
EPISODE_SECONDS = 15.0
#: Simulated seconds between a new scene and the activation of the node.
_SETTLE = 0.05
_SUCCESS = re.compile(r'(?P<task>[^:]*): (?:not yet|it happened to the (?P<color>\w+) block), '
                      r'after (?P<seconds>[\d.]+) s')


AnyEvaluator = TypeVar('AnyEvaluator', bound='Evaluator')


class TrialError(VlaError):
    """The processes of a trial do not work together."""


class Evaluator(Node):
    """
    Arranges scenes, publishes instructions and asks the simulator whether the task is done.

    The inference node is inactive while a scene is arranged, since the simulator then moves the
    arm. The node measures the arm again when it is activated.
    """

    #: Seconds of wall time within which a process has to respond.
    timeout = 120.0

    def __init__(self, processes: Processes, context: Context) -> None:
        """
        Join the graph of a pair.

        :param processes: of the pair; one that ends by itself is an error at any time.
        """
        # One process holds several evaluators and has one log.
        super().__init__('vla_evaluator', context=context, enable_rosout=False)
        #: Ages of the images when their commands went out, simulated seconds.
        self.ages: list[float] = []
        #: How often the node held the arm, by its reason.
        self.holds: Counter[str] = Counter()
        #: Called after each spin, at least every 0.1 s.
        self.on_wait: Callable[[], None] = _nothing
        self._processes = processes
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self)
        self._instructions = self.create_publisher(String, '/vla/instruction', RELIABLE)
        if VlaAction is not None:
            self.create_subscription(VlaAction, '/vla/action', self._on_action, RELIABLE)
        self._reset = self.create_client(Trigger, '/vla_sim/reset')
        self._success = self.create_client(Trigger, '/vla_sim/success')
        self._sim_parameters = self.create_client(SetParameters, '/vla_sim/set_parameters')
        self._lifecycle = self.create_client(ChangeState, '/vla_inference_node/change_state')
        self._is_active = True  # the node activates itself when it starts
        self._fault = ''
        self._state = ''
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def wait_for_pair(self, subscribers: int = 2) -> None:
        """
        Wait until the node is loaded, and deactivate it.

        :param subscribers: number of subscriptions of ``/vla/instruction`` to wait for.
        """
        self._until(lambda: self._instructions.get_subscription_count() >= subscribers,
                    'simulator and node do not subscribe to /vla/instruction')
        self._until(self._lifecycle.service_is_ready, 'no inference node')
        self._until(lambda: self._transit(Transition.TRANSITION_DEACTIVATE),
                    'the inference node is not ready')

    def run(self, seed: int, task: Task) -> Episode:
        """Run one episode."""
        self.arrange(seed, task)
        color, seconds = '', 0.0
        while not color and seconds < EPISODE_SECONDS:
            self.spin(0.05)
            color, seconds = self.success(task)
        return Episode(seed, task, color, seconds)

    def arrange(self, seed: int, task: Task) -> None:
        """Arrange a scene and activate the node."""
        if self._is_active:
            self._transit(Transition.TRANSITION_DEACTIVATE)
        self._until(lambda: self._is_received(task),
                    'the simulator does not receive the instruction')
        self._ask(self._sim_parameters, SetParameters.Request(
            parameters=[Parameter('seed', value=seed).to_parameter_msg()]))
        self._ask(self._reset)
        self._until(lambda: self.success(task)[1] > _SETTLE, 'simulated time does not pass', 0.0)
        if not self._transit(Transition.TRANSITION_ACTIVATE):
            raise TrialError('the inference node cannot be activated')

    def success(self, task: Task) -> tuple[str, float]:
        """Return the colour of the block that the task was done with, and the seconds so far."""
        found = _SUCCESS.fullmatch(self._ask(self._success).message)
        if found is None or found['task'] != task.instruction:
            return '', 0.0
        return found['color'] or '', float(found['seconds'])

    def spin(self, seconds: float) -> None:
        """Receive messages for some seconds of wall time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)
        self._after_spin()

    def close(self) -> None:
        """Destroy the node."""
        self._executor.shutdown(timeout_sec=0.0)
        self.destroy_node()

    def _is_received(self, task: Task) -> bool:
        self._instructions.publish(String(data=task.instruction))
        return self._ask(self._success).message.startswith(task.instruction)

    def _transit(self, transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        if not self._ask(self._lifecycle, request).success:
            return False
        self._is_active = transition == Transition.TRANSITION_ACTIVATE
        return True

    def _ask(self, client: Any, request: Any = None) -> Any:
        self._until(client.service_is_ready, f'no service {client.srv_name}')
        future = client.call_async(request or client.srv_type.Request())
        end = time.monotonic() + self.timeout
        while not future.done():
            self._executor.spin_once(timeout_sec=0.1)
            self._after_spin()
            if time.monotonic() > end:
                raise TrialError(f'{client.srv_name} does not respond')
        return future.result()

    def _until(self, condition: Callable[[], bool], problem: str, pause: float = 0.05) -> None:
        deadline = time.monotonic() + self.timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TrialError(f'{problem} within {self.timeout:.0f} s')
            self.spin(pause)

    def _after_spin(self) -> None:
        self._processes.check()
        if self._fault:  # the node does not recover by itself
            raise TrialError(f'the inference node reports {self._fault} (its output: '
                             f'{self._processes.log(NODE)})')
        self.on_wait()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            if 'state' not in values:
                continue  # of the camera
            state = values['state']
            if state == 'FAULT':
                self._fault = f'FAULT: {status.message}'
            if state == 'HOLD' and self._state != 'HOLD':
                self.holds[status.message.split(':')[0]] += 1
            self._state = state

    def _on_action(self, message: Any) -> None:
        self.ages.append(message.age_published)


@contextmanager
def make_evaluator(kind: type[AnyEvaluator], processes: Processes,
                   domain: int) -> Iterator[AnyEvaluator]:
    """Make an evaluator of a class on a ROS domain."""
    context = Context()
    # With rclpy's own handlers its context would be gone before the processes are.
    rclpy.init(context=context, domain_id=domain,
               signal_handler_options=SignalHandlerOptions.NO)
    evaluator = kind(processes, context)
    try:
        yield evaluator
    finally:
        evaluator.close()
        context.try_shutdown()


def _nothing() -> None:
    """Do nothing."""
