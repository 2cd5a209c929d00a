# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node: declares, wires, and hands over to the core."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.lifecycle import LifecycleNodeMixin
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool
from std_srvs.srv import Trigger

from vla_ros.camera.health import image_topic
from vla_ros.control.controller import Controller
from vla_ros.control.parameters import NodeConfig
from vla_ros.control.parameters import PARAMETERS
from vla_ros.control.status import NodeStatus
from vla_ros.errors import Cancelled
from vla_ros.errors import describe
from vla_ros.policy.base import Policy
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.robot.hold import Reason
from vla_ros.ros import messages
from vla_ros.ros.arguments import declare
from vla_ros.ros.motion_loop import MotionLoop
from vla_ros.ros.node_interface import NodeInterface
from vla_ros.ros.observation_inputs import subscribe_inputs
from vla_ros.ros.parameter_changes import ParameterChanges
from vla_ros.ros.qos import NEWEST
from vla_ros.ros.qos import RELIABLE
from vla_ros.ros.qos_events import SubscriptionEventCallbacks
from vla_ros.ros.task_server import TaskServer

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE

#: Seconds between two checks whether a camera is there and sends.
_CAMERA_PERIOD = 1.0
#: Seconds between two checks of the emergency stop's publishers.
_STOP_PERIOD = 0.25
#: Seconds between two checks whether the inference hangs.
_HANG_PERIOD = 0.05


class VlaInferenceNode(LifecycleNodeMixin, Node):
    """A managed node that turns camera images into joint commands."""

    def __init__(self, load: Callable[[PolicyConfig], Policy] = load_policy) -> None:
        """
        Declare and wire everything; nothing is loaded before ``configure``.

        :param load: makes the policy.
        :raises ParameterError: a parameter was started with a value that is not allowed.
        """
        Node.__init__(self, 'vla_inference_node')
        # Configuring takes as long as loading does. In a group of their own, which is not the one
        # of the parameter services, and reentrant, so that get_state replies meanwhile. (This is
        # why the mixin is used: LifecycleNode itself cannot be given a group.)
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        config = NodeConfig.from_values(declare(self, PARAMETERS))
        self.autostart = config.autostart
        self._status = NodeStatus(self.resolve_topic_name(image_topic(config.image_source)),
                                  self.resolve_topic_name('vla/instruction'),
                                  config.image_timeout, self.resolve_topic_name('arm/estop'),
                                  config.require_estop or config.estop_timeout > 0.0)
        self._ros = NodeInterface(self, config, self._on_mismatch)
        self._controller = Controller(config, self._ros, self._status, load)
        self._changes = ParameterChanges(self, self._controller, self._ros.is_simulated)
        self._make_subscriptions()
        if self._ros.teleop is not None:
            self._ros.teleop.connect(self._controller)
        subscribe_inputs(self, self._controller.observations, config, self._ros.now)
        self._camera = self._ros.open_camera(self._controller.frame,
                                             self._controller.camera_ended)
        self._make_timers(config)
        #: Runs the goals of run_task, None without vla_ros_msgs.
        self.tasks = None if messages.RunTask is None else TaskServer(self, self._controller)

    def start(self) -> None:
        """Configure and activate without a lifecycle manager."""
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def stop(self, timeout: float) -> bool:
        """
        Publish nothing more, and end the inference.

        :param timeout: seconds to wait for what is under way.
        :returns: False if a thread is still busy.
        """
        self.motion.end()
        self._camera.stop()
        return self._controller.stop(timeout)

    def _make_subscriptions(self) -> None:
        # The motion's own thread polls the emergency stop. Measurements wait for no other
        # callback; the rest share the default group, in which the parameter services are, too: an
        # instruction is set in one place.
        self._subscribe(JointState, 'joint_states', self._on_joint_states, NEWEST,
                        MutuallyExclusiveCallbackGroup())
        self._subscribe(String, 'vla/instruction', self._changes.on_instruction, RELIABLE)
        self.create_service(Trigger, '~/rearm', self._on_rearm)
        self.create_service(Trigger, '~/hold', self._on_hold)
        self.create_service(SetBool, '~/shadow', self._on_shadow)

    def _subscribe(self, message_type: Any, topic: str, callback: Callable[[Any], None],
                   qos: QoSProfile, group: CallbackGroup | None = None) -> None:
        events = SubscriptionEventCallbacks(incompatible_qos=partial(self._on_mismatch, topic),
                                            use_default_callbacks=False)
        self.create_subscription(message_type, topic, callback, qos, callback_group=group,
                                 event_callbacks=events)

    def _make_timers(self, config: NodeConfig) -> None:
        # By the steady clock: with use_sim_time there may be no time yet, but there is a status;
        # and a clock that is set back must not keep anyone from being stopped.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(config.status_period, self._controller.publish_status, clock=steady)
        self.create_timer(_CAMERA_PERIOD, self._check_camera, clock=steady)
        self.create_timer(_HANG_PERIOD, self._controller.check_hang, clock=steady,
                          callback_group=MutuallyExclusiveCallbackGroup())
        self.create_timer(_STOP_PERIOD, self._controller.observe_stop, clock=steady,
                          callback_group=MutuallyExclusiveCallbackGroup())
        self._ros.estop.call_on_mismatch(self._controller.observe_stop)
        #: Polls emergency stop and deadman, and sends the motion; ``run`` is a thread of its own.
        self.motion = MotionLoop(self, self._ros.polled, self._controller.poll_stop,
                                 self._controller.tick, 1.0 / config.motion_rate,
                                 self._controller.due)

    def _check_camera(self) -> None:
        problem = self._camera.problem()
        if self._status.camera_problem(problem):
            if problem:
                self.get_logger().warning(f'no image: {problem}')
            self._controller.publish_changes()

    def _on_joint_states(self, message: JointState) -> None:
        self._controller.joints(message.name, message.position,
                                messages.nanoseconds(message.header.stamp))

    def _on_rearm(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = self._controller.rearm()
        response.success = not response.message
        return response

    def _on_hold(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._controller.hold(Reason.OPERATOR, '~/hold was called')
        response.success = True
        return response

    def _on_shadow(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.message = self._controller.set_shadow(request.data)
        response.success = not response.message
        return response

    def _on_mismatch(self, topic: str, event: Any) -> None:
        self._controller.hold(Reason.QOS_MISMATCH, f'someone on {topic} requests another '
                              f'{event.last_policy_kind} than this node offers: compare with '
                              f'ros2 topic info --verbose')

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy and warm it up."""
        try:
            spec = self._controller.configure()
        except Cancelled:
            return FAILURE
        except Exception as error:
            self.get_logger().error(f'not configured: {describe(error)}')
            return FAILURE
        # The attention and its reason were logged when they were chosen.
        self.get_logger().info(f'{spec.checkpoint} is loaded, on {spec.device} in {spec.dtype}')
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Infer and send from now on."""
        self.motion.begin()
        refusal = self._controller.activate()
        if refusal:
            self.get_logger().error(f'not activated, emergency stop cannot be received: {refusal}')
        return FAILURE if refusal else SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish no more commands."""
        self._controller.deactivate()
        return SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unload the policy."""
        return SUCCESS if self._controller.cleanup() else FAILURE

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish no more commands and unload the policy."""
        self._controller.deactivate()
        return SUCCESS if self._controller.cleanup() else FAILURE
