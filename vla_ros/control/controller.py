# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From frames to commands: everything that the node does, without ROS."""

from collections.abc import Callable
from collections.abc import Sequence
import logging
import math
from pathlib import Path
import threading
import time
from typing import Any

from vla_ros.control.command_gate import CommandContext
from vla_ros.control.command_gate import CommandGate
from vla_ros.control.inference_step import InferenceStep
from vla_ros.control.input_checks import InputChecks
from vla_ros.control.motion_output import MotionOutput
from vla_ros.control.node_policy import NodePolicy
from vla_ros.control.observation_builder import ObservationBuilder
from vla_ros.control.parameters import NodeConfig
from vla_ros.control.rate_limiter import start_period
from vla_ros.control.ros_interface import Frame
from vla_ros.control.ros_interface import RosInterface
from vla_ros.control.status import NodeStatus
from vla_ros.control.status_publisher import StatusPublisher
from vla_ros.control.task_runner import TaskRunner
from vla_ros.control.teleoperation import Teleoperation
from vla_ros.control.worker import Worker
from vla_ros.errors import CameraEnded
from vla_ros.errors import Cancelled
from vla_ros.errors import describe
from vla_ros.errors import DeviceLostError
from vla_ros.policy.base import Policy
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason
from vla_ros.safety.black_box import BlackBox
from vla_ros.safety.black_box import BlackBoxSettings
from vla_ros.safety.black_box import JOINT_STATES
from vla_ros.safety.causes import hold_of
from vla_ros.safety.deadman import Deadman
from vla_ros.safety.emergency_stop import EmergencyStop
from vla_ros.safety.state_machine import Event

_logger = logging.getLogger(__name__)

#: Seconds that a deactivated policy is given to finish its last inference before it is unloaded.
_CLEANUP_TIMEOUT = 30.0


class Controller:
    """
    The node's life cycle, and the entry of all its inputs.

    A frame goes to the worker's thread. There
    :class:`vla_ros.control.inference_step.InferenceStep` turns it into a result, and
    :class:`vla_ros.control.motion_output.MotionOutput` sends that through the gate.
    """

    def __init__(self, config: NodeConfig, ros: RosInterface, status: NodeStatus,
                 load_policy: Callable[[PolicyConfig], Policy]) -> None:
        """
        Start with nothing loaded.

        :param load_policy: :func:`vla_ros.policy.load.load_policy`, or a test's own.
        :raises ParameterError: parameters do not go together.
        """
        self._config = config
        self._ros = ros
        self._status = status
        stop = EmergencyStop(ros.take_estop, config.require_estop, config.estop_timeout)
        deadman = None if not config.teleop_enabled else Deadman(
            ros.take_deadman, config.teleop_timeout, config.teleop_resumes)
        self._gate = CommandGate(config.instruction, config.dry_start, config.shadow, stop,
                                 deadman)
        self._ended = ''
        #: Takes the inputs beside the main image.
        self.observations = ObservationBuilder(config)
        self._policy = NodePolicy(config, status, load_policy,
                                  len(self.observations.contract.cameras))
        #: Switches to another adapter, from the next inference on.
        self.choose_adapter = self._policy.adapters.choose
        self._black_box = _black_box(config)
        self._inputs = InputChecks(config, ros)
        self._motion = MotionOutput(config, ros, status, self._gate, self._inputs,
                                    self._black_box)
        self._publisher = StatusPublisher(ros, status, self._gate, self._motion, self._black_box,
                                          self._count_replaced)
        #: Publishes the status.
        self.publish_status = self._publisher.publish
        #: Publishes the status if anything in it is news.
        self.publish_changes = self._publisher.publish_changes
        #: Takes the commands of whoever holds the deadman.
        self.teleoperation = Teleoperation(self._gate, self._motion, ros.now,
                                           config.teleop_timeout, self.publish_changes)
        self._inference = InferenceStep(ros, self.observations, self._inputs)
        self._busy_since = math.inf
        #: The present status, for whoever wants it beside the topic.
        self.snapshot = self._publisher.snapshot
        #: Runs tasks, one at a time.
        self.tasks = TaskRunner(self._gate, ros.now, status.actions_executed,
                                self.publish_changes)
        # Once it was stopped no worker is started any more, and nothing is published.
        self._starting = threading.Lock()
        self._is_stopped = False
        self._worker: Worker[Frame] | None = None

    @property
    def black_box(self) -> BlackBox | None:
        """The black box, None where there is none."""
        return self._black_box

    @property
    def teleoperator(self) -> bytes | None:
        """Publisher of the deadman that is held; None while none is."""
        return self._gate.teleoperator

    @property
    def instruction(self) -> str:
        """The instruction in force."""
        return self._gate.context.instruction

    def configure(self) -> PolicySpec:
        """
        Load the policy, and wait until it is ready.

        :raises VlaError: it cannot be loaded, or does not fit the configuration; the status says
            the same.
        """
        self._status.loading('starting to load')
        self._gate.handle(Event.CONFIGURE)
        self.publish_changes()
        try:
            if self._ended:
                raise CameraEnded(self._ended)
            worker = self._start_worker()
            spec = worker.wait_loaded()
            self.observations.check(spec)
            self._motion.build(spec)
            self._inference.rate_limiter.period = start_period(self._config, spec.unnorm_key)
        except Cancelled:
            # The thread that stopped the worker waits for this one.
            self._status.loading('loading was cancelled')
            self._gate.handle(Event.CLEANUP)
            raise
        except Exception as error:
            if self._worker is not None:
                self._worker.stop(_CLEANUP_TIMEOUT)
            self._worker = None
            self._gate.handle(Event.LOAD_FAILED, describe(error))
            self.publish_changes()
            raise
        self._status.loading('', 100.0, spec)
        self._gate.handle(Event.LOADED)
        if self._ended:  # meanwhile
            self._gate.problem(Hold(Reason.CAMERA_ENDED, self._ended))
        self.publish_changes()
        return spec

    def activate(self) -> str:
        """
        Infer and send from now on.

        :returns: why that is refused; empty if it was done.
        """
        self.observe_stop()
        return self._publish_after(self._gate.activate())

    def deactivate(self) -> None:
        """Send nothing more."""
        self._gate.handle(Event.DEACTIVATE)
        self.publish_changes()

    def cleanup(self) -> bool:
        """
        Unload the policy.

        :returns: False if it is still busy.
        """
        if self._worker is not None and not self._worker.stop(_CLEANUP_TIMEOUT):
            return False
        self._worker = self._policy.prefetch = None
        self._busy_since = math.inf
        self._status.loading('the policy was unloaded')
        self._gate.handle(Event.CLEANUP)
        self.publish_changes()
        return True

    def stop(self, timeout: float) -> bool:
        """
        Send nothing more, and end the worker.

        :param timeout: seconds to wait for what is under way.
        :returns: whether the worker ended.
        """
        self.tasks.close()
        self._gate.handle(Event.DEACTIVATE)
        with self._starting:
            self._is_stopped = True
        self._motion.close()
        self._publisher.close()
        worker = self._worker
        is_idle = worker is None or worker.stop(timeout)
        if self._black_box is not None:
            self._black_box.close(timeout)
        return is_idle

    def frame(self, image: Any) -> None:
        """Accept a frame; the worker infers from it unless a newer one comes first."""
        received, arrived = self._ros.now(), time.monotonic()
        frame = Frame(image, received, arrived, self._prefetch_frame(image))
        self._inputs.frame(frame)
        self._status.frame()
        worker = self._worker
        if worker is not None:
            worker.put(frame)

    def joints(self, names: Sequence[str], positions: Sequence[float], stamp: int) -> None:
        """
        Accept measured joint positions, in rad and m; arm and gripper may come apart.

        :param stamp: of the message, ns; 0 if it has none.
        """
        self._inputs.measurements.take(names, positions, time.monotonic())
        self.observations.joints(names, positions, stamp)
        if self._black_box is not None:
            self._black_box.joints(self._ros.now(), JOINT_STATES, names, positions)
        self.tasks.joints(names, positions)

    def instruct(self, instruction: str) -> None:
        """Change the instruction; after the status that says so no older command follows."""
        if self._gate.instruct(instruction.strip()):
            _logger.info('instruction %d: %r', self._gate.context.version, instruction.strip())
            self.publish_changes()

    def poll_stop(self) -> None:
        """Process the messages of emergency stop and deadman at once."""
        if self._gate.poll():
            self.publish_changes()

    def observe_stop(self) -> None:
        """Check the emergency stop's publishers; one with incompatible QoS holds the arm."""
        view = self._ros.find_estop_publishers()
        if self._status.stop_problem(view.mismatch) and view.mismatch:
            _logger.error('an emergency stop cannot be received: %s', view.mismatch)
        self._gate.observe(view)
        self.publish_changes()

    def camera_ended(self, error: BaseException) -> None:
        """Record that the camera's thread has ended: no image comes any more."""
        self._ended = (f'the thread of the camera has ended: {describe(error)}; end the node and '
                       'start it again')
        _logger.critical('%s', self._ended, exc_info=error)
        self._gate.problem(Hold(Reason.CAMERA_ENDED, self._ended))
        self.publish_changes()

    def hold(self, reason: Reason, detail: str) -> None:
        """Hold the arm for a reason from outside: an operator, the middleware."""
        if self._gate.problem(Hold(reason, detail)):
            self.publish_changes()

    def tick(self) -> None:
        """Send what is due, or hold for what is wrong; called ``command_rate`` times a second."""
        if self._motion.tick():
            self.publish_changes()

    def due(self) -> float:
        """Return the monotonic seconds at which a tick is needed, even before its time."""
        return self._motion.due()

    def check_hang(self) -> None:
        """Check that the inference does not hang: a watchdog, called by a steady clock."""
        busy = time.monotonic() - self._busy_since
        if busy > self._config.inference_timeout and self._gate.handle(
                Event.HANG, f'no result for {busy:.1f} s, safety.inference_timeout is '
                f'{self._config.inference_timeout:g} s; end the node, or clean it up and '
                'configure it again'):
            self.publish_changes()

    def rearm(self) -> str:
        """
        Resume after an emergency stop or a hold, or end a dry start.

        :returns: why not; empty if it was done.
        """
        return self._publish_after(self._gate.rearm(self._ros.find_estop_publishers()))

    def set_shadow(self, is_shadow: bool) -> str:
        """Hold the arm; re-armed it goes on in shadow or out of it. Return why not, or ''."""
        return self._publish_after(self._gate.set_shadow(is_shadow))

    def resume(self) -> str:
        """
        Resume the policy after a takeover.

        :returns: why not; empty if it was done.
        """
        return self._publish_after(self._gate.resume())

    def _publish_after(self, refusal: str) -> str:
        self.publish_changes()
        return refusal

    def _count_replaced(self) -> int:
        worker = self._worker
        return worker.dropped if worker is not None else 0

    def _start_worker(self) -> Worker[Frame]:
        with self._starting:
            if self._is_stopped:
                raise Cancelled('the node is about to end')
            self._worker = Worker(self._policy.load, self._process, self._report,
                                  self._inference.rate_limiter, self._worker_failed)
            return self._worker

    def _prefetch_frame(self, image: Any) -> Any:
        """Upload a frame to the device while the one before is still in inference."""
        prefetch = self._policy.prefetch
        rgb = None if prefetch is None else self._ros.view_image(image)
        if prefetch is None or rgb is None:
            return None
        try:
            return prefetch(rgb)
        except Exception as error:  # the frame itself is good, and goes on
            self._gate.problem(hold_of(error))
            _logger.error('a frame was not prefetched: %s', describe(error))
            return None

    def _worker_failed(self, error: BaseException) -> None:
        hold = hold_of(error)
        if not isinstance(error, Exception):
            hold = Hold(Reason.WORKER_ENDED, f'{describe(error)}; clean the node up and configure '
                        'it again')
        if self._gate.problem(hold):
            self.publish_changes()

    def _report(self, fraction: float, activity: str) -> None:
        self._status.loading(activity, 100.0 * fraction)
        self.publish_changes()

    def _process(self, policy: Policy, frame: Frame) -> None:
        """Infer from a frame and send the result, or hold the arm for what is wrong."""
        if not self._gate.has_sent:
            # The camera and an emergency stop that was pressed before may have been discovered
            # just now.
            self.observe_stop()
        context = self._gate.context
        if not context.is_open or frame.arrived < context.since:
            # A frame from before the context may be arbitrarily old; the next one is used.
            self._status.skipped()
        else:
            self._infer(policy, frame, context)
        self.publish_changes()

    def _infer(self, policy: Policy, frame: Frame, context: CommandContext) -> None:
        self._busy_since = time.monotonic()
        try:
            self._motion.send(self._inference.infer(policy, frame, context))
        except Exception as error:  # whatever it is: nothing moves, and the next frame is tried
            self._status.failed()
            self._gate.problem(hold_of(error), context)
            _logger.error('no command: %s', describe(error))
            if isinstance(error, DeviceLostError):
                raise  # the worker ends: no later frame can be inferred from
        finally:
            self._busy_since = math.inf


def _black_box(config: NodeConfig) -> BlackBox | None:
    if not config.black_box_folder:
        return None
    return BlackBox(BlackBoxSettings(Path(config.black_box_folder).expanduser(),
                                     config.black_box_seconds, config.black_box_disk))
