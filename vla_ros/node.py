# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The ROS shell of the inference: declares, wires, and hands over to the core."""

from collections.abc import Callable
from functools import partial
from typing import Any
from typing import Optional

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import CallbackGroup
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.lifecycle import LifecycleNodeMixin
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import String
from std_srvs.srv import Trigger

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from vla_ros import messages
from vla_ros.camera import image_topic
from vla_ros.errors import Cancelled
from vla_ros.errors import describe
from vla_ros.errors import ParameterError
from vla_ros.inference import Inference
from vla_ros.motion_loop import LoopGroup
from vla_ros.motion_loop import MotionLoop
from vla_ros.parameters import NodeConfig
from vla_ros.parameters import PARAMETERS
from vla_ros.policy import load_policy
from vla_ros.policy import Policy
from vla_ros.policy import PolicyConfig
from vla_ros.ros_arguments import declare
from vla_ros.ros_shell import RELIABLE
from vla_ros.ros_shell import RosShell
from vla_ros.safety.state_machine import Reason
from vla_ros.status import StatusBoard

NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE

#: Seconds between two looks at whether a camera is there and sends.
_CAMERA_PERIOD = 1.0
#: Seconds between two looks at whether the inference hangs.
_WATCH_PERIOD = 0.05


class VlaInferenceNode(LifecycleNodeMixin, Node):
    """A managed node that answers camera images with joint commands."""

    def __init__(self, load: Callable[[PolicyConfig], Policy] = load_policy) -> None:
        """
        Declare and wire everything; nothing is loaded before ``configure``.

        :param load: makes the policy.
        :raises ParameterError: a parameter was started with a value that is not allowed.
        """
        Node.__init__(self, 'vla_inference_node')
        # Configuring takes as long as loading does. In a group of their own, which is not the one
        # of the parameter services, and reentrant, so that get_state answers meanwhile. (This is
        # why the mixin is used: LifecycleNode itself cannot be given a group.)
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        config = NodeConfig.from_values(declare(self, PARAMETERS))
        self.autostart = config.autostart
        self._board = StatusBoard(self.resolve_topic_name(image_topic(config.image_source)),
                                  self.resolve_topic_name('vla/instruction'),
                                  config.image_timeout)
        self._shell = RosShell(self, config, self._on_mismatch)
        self._inference = Inference(config, self._shell, self._board, load)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._make_subscriptions()
        self._subscribe_inputs(config)
        self._camera = self._shell.open_camera(self._inference.frame)
        self._make_timers(config)

    def start(self) -> None:
        """Configure and activate without a lifecycle manager."""
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def stop(self, timeout: float) -> bool:
        """
        Publish nothing more, and end the inference.

        :param timeout: seconds to wait for what is under way.
        :return: False if a thread is still busy.
        """
        self.motion.end()
        self._camera.stop()
        return self._inference.stop(timeout)

    def _make_subscriptions(self) -> None:
        # The emergency stop is heard by the motion's own thread. Measurements wait for no other
        # callback; the rest share the default group, in which the parameter services are, too: an
        # instruction is set in one place.
        self._shell.button = self._subscribe(Bool, 'arm/estop', lambda _: None, RELIABLE,
                                             LoopGroup())
        self._subscribe(JointState, 'joint_states', self._on_joint_states, NEWEST,
                        MutuallyExclusiveCallbackGroup())
        self._subscribe(String, 'vla/instruction', self._on_instruction, RELIABLE)
        self.create_service(Trigger, '~/rearm', self._on_rearm)
        self.create_service(Trigger, '~/hold', self._on_hold)

    def _subscribe(self, message_type: Any, topic: str, callback: Callable[[Any], None],
                   qos: QoSProfile, group: Optional[CallbackGroup] = None) -> Subscription:
        events = SubscriptionEventCallbacks(incompatible_qos=partial(self._on_mismatch, topic),
                                            use_default_callbacks=False)
        return self.create_subscription(message_type, topic, callback, qos, callback_group=group,
                                        event_callbacks=events)

    def _make_timers(self, config: NodeConfig) -> None:
        # By the steady clock: with use_sim_time there may be no time yet, but there is a status;
        # and a clock that is set back must not keep anyone from being stopped.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(config.status_period, self._inference.tell, clock=steady)
        self.create_timer(_CAMERA_PERIOD, self._look_at_camera, clock=steady)
        self.create_timer(_WATCH_PERIOD, self._inference.watch, clock=steady,
                          callback_group=MutuallyExclusiveCallbackGroup())
        #: Hears the emergency stop and sends the motion; its ``run`` wants a thread of its own.
        self.motion = MotionLoop(self, self._shell.button, self._inference.hear,
                                 self._inference.tick, 1.0 / config.motion_rate,
                                 self._inference.due)

    def _subscribe_inputs(self, config: NodeConfig) -> None:
        for topic in config.extra_topics:
            self.create_subscription(Image, topic, partial(self._on_extra_image, topic), NEWEST)
        if config.proprio_topic:
            self.create_subscription(Float64MultiArray, config.proprio_topic, self._on_state,
                                     NEWEST)

    def _on_extra_image(self, topic: str, image: Image) -> None:
        self._inference.observing.image(topic, partial(messages.image_rgb, image))

    def _on_state(self, message: Float64MultiArray) -> None:
        self._inference.observing.state(message.data)

    def _look_at_camera(self) -> None:
        problem = self._camera.problem()
        if self._board.camera_problem(problem):
            if problem:
                self.get_logger().warning(f'no image: {problem}')
            self._inference.tell_changes()

    def _on_joint_states(self, message: JointState) -> None:
        self._inference.joints(message.name, message.position)

    def _on_instruction(self, message: String) -> None:
        if message.data != self._inference.instruction:
            self.set_parameters([Parameter('instruction', value=message.data)])

    def _on_rearm(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = self._inference.rearm()
        response.success = not response.message
        return response

    def _on_hold(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._inference.hold(Reason.OPERATOR, '~/hold was called')
        response.success = True
        return response

    def _on_mismatch(self, topic: str, event: Any) -> None:
        self._inference.hold(Reason.QOS_MISMATCH, f'someone on {topic} asks for another '
                             f'{event.last_policy_kind} than this node has: compare with '
                             f'ros2 topic info --verbose')

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        # Only those that are not read-only, which rclpy sees to.
        values = {parameter.name: parameter.value for parameter in parameters}
        is_simulated = self._shell.is_simulated()
        try:
            if values.get('use_sim_time', is_simulated) != is_simulated:
                raise ParameterError('use_sim_time', not is_simulated,
                                     'what it was when the node started: an arm has one clock')
            if 'adapter' in values:
                self._inference.choose_adapter(values['adapter'])
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if 'instruction' in values:
            self._inference.instruct(values['instruction'])
        return SetParametersResult(successful=True)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy and warm it up."""
        try:
            spec = self._inference.configure()
        except Cancelled:
            return FAILURE
        except Exception as error:
            self.get_logger().error(f'not configured: {describe(error)}')
            return FAILURE
        # The attention and its reason were logged when they were chosen.
        self.get_logger().info(f'{spec.checkpoint} is loaded, on {spec.device} in {spec.dtype}')
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Answer frames from now on."""
        self.motion.begin()
        self._inference.activate()
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish no more commands."""
        self._inference.deactivate()
        return SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unload the policy."""
        return SUCCESS if self._inference.cleanup() else FAILURE

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish no more commands and unload the policy."""
        self._inference.deactivate()
        return SUCCESS if self._inference.cleanup() else FAILURE
