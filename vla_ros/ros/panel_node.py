# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The ROS side of the operator page: subscribes to its data, and sends its requests."""

from collections.abc import Callable
from collections.abc import Mapping
from concurrent.futures import Future
import math
import threading
import time
from typing import Any

import numpy as np
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from vla_ros.control.parameter import Parameter
from vla_ros.control.parameters import NodeConfig
from vla_ros.control.parameters import PARAMETERS as NODE_PARAMETERS
from vla_ros.errors import UnsupportedError
from vla_ros.ros import messages
from vla_ros.ros.arguments import declare
from vla_ros.ros.panel_images import ImageStreams
from vla_ros.ros.panel_images import StreamSettings
from vla_ros.ros.panel_path import PathOverlay
from vla_ros.ros.panel_services import PanelServices
from vla_ros.ros.panel_stop import StopButton
from vla_ros.ros.qos import LATCHED
from vla_ros.ros.qos import NEWEST
from vla_ros.ros.qos import RELIABLE
from vla_ros.server.panel.robot import CameraImage
from vla_ros.server.panel.robot import Outcome
from vla_ros.server.panel.robot import TaskRequest

#: Parameters of the inference node that the page needs, too: one file serves both.
_SHARED = ('image.source', 'image.extra_topics', 'robot.file', 'robot.urdf', 'datasets_file',
           'action.space', 'action.frame', 'action.rotation', 'action.period', 'action.gripper',
           'action.transforms')
PARAMETERS = (
    *(one for one in NODE_PARAMETERS if one.name in _SHARED),
    Parameter('node', 'vla_inference_node', 'Name of the inference node whose services are '
              'called.'),
    Parameter('recorder', 'vla_record', 'Name of the vla_record whose services are called.'),
    Parameter('camera.pose', (math.nan,), "Pose of the main camera's optical frame in the base "
              'frame of the arm, for the path of the tip: x y z in m, then the quaternion '
              'x y z w; empty (.nan): no path is drawn.'),
    Parameter('stream.rate', 10.0, 'Images a second of each camera.', minimum=0.1,
              maximum=60.0),
    Parameter('stream.width', 640, 'Width of the largest image; wider images are made '
              'smaller.', minimum=64, maximum=4096),
    Parameter('stream.quality', 80, 'Quality of the JPEG.', minimum=1, maximum=95))

#: Seconds between two updates of which services are there.
_UPDATE_PERIOD = 1.0


class PanelNode(Node):
    """Implements :class:`vla_ros.server.panel.robot.Robot`."""

    def __init__(self) -> None:
        """
        Connect.

        :raises VlaError: a parameter cannot be used, or something is missing.
        """
        super().__init__('vla_panel')
        if messages.VlaStatus is None:
            raise UnsupportedError('vla_panel', 'vla_ros_msgs is not built',
                                   'colcon build --base-paths . msg')
        values: dict[str, Any] = declare(self, PARAMETERS)
        self._config = NodeConfig.from_values(values)
        self._lock = threading.Lock()
        self._status: tuple[float, Any] | None = None
        self._measured: dict[str, float] = {}
        self._measured_at = 0.0
        self._commanded: dict[str, float] = {}
        self._action: dict[str, object] | None = None
        self._button = StopButton(self)
        self._panel_services = PanelServices(self, values['node'], values['recorder'])
        self._instructions = self.create_publisher(String, 'vla/instruction', RELIABLE)
        self._images = ImageStreams(self, self._config.image_source, self._config.extra_topics,
                                    StreamSettings(values['stream.rate'], values['stream.width'],
                                                   values['stream.quality']))
        self._subscribe()
        self._path = PathOverlay(self, self._config, values['camera.pose'])
        self.create_timer(_UPDATE_PERIOD, self._panel_services.update,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def is_stop_pressed(self) -> bool:
        """Whether the software stop is pressed."""
        return self._button.is_pressed

    def press_stop(self) -> None:
        """Press the software stop."""
        self._button.press()

    def release_stop(self) -> None:
        """Release it."""
        self._button.release()

    def instruct(self, instruction: str) -> Outcome:
        """Publish an instruction; the status says when it is in force."""
        if not self._instructions.get_subscription_count():
            return Outcome(False, f'nobody listens to {self._instructions.topic_name}')
        self._instructions.publish(String(data=instruction))
        return Outcome(True)

    def call(self, service: str) -> 'Future[Outcome]':
        """Call a service that is there."""
        return self._panel_services.call(service)

    def start_task(self, task: TaskRequest) -> 'Future[Outcome]':
        """Start a task; the service is there."""
        return self._panel_services.start_task(task)

    def stream(self, show: Callable[[CameraImage], None] | None) -> None:
        """Call ``show`` with images from now on; None: stop."""
        self._images.stream(show)

    def stop(self) -> None:
        """Stop receiving; to be called when nobody spins any more."""
        self._images.stop()

    def state(self) -> Mapping[str, object]:
        """Return what the page shows."""
        now = time.monotonic()
        with self._lock:
            heard, status = self._status or (0.0, None)
            state = {
                'status': _status(status) if status is not None else None,
                'silence': now - heard if status is not None else None,
                'joints': [{'name': name, 'measured': _number(position),
                            'commanded': _number(self._commanded.get(name, math.nan))}
                           for name, position in self._measured.items()],
                'joints_age': now - self._measured_at if self._measured else None,
                'action': self._action, 'path_problem': self._path.problem}
        return {**state, 'stop': {'pressed': self._button.is_pressed,
                                  'listeners': self._button.count_listeners()},
                'services': self._panel_services.available}

    def _subscribe(self) -> None:
        self.create_subscription(messages.VlaStatus, 'vla/status', self._on_status, LATCHED)
        self.create_subscription(messages.VlaAction, 'vla/action', self._on_action, NEWEST)
        self.create_subscription(JointState, 'joint_states', self._on_joint_states, NEWEST)
        self.create_subscription(JointState, 'arm/joint_command', self._on_command, NEWEST)

    def _on_status(self, status: Any) -> None:
        with self._lock:
            self._status = time.monotonic(), status

    def _on_joint_states(self, message: JointState) -> None:
        with self._lock:
            self._measured.update(zip(message.name, message.position))
            self._measured_at = time.monotonic()

    def _on_command(self, message: JointState) -> None:
        with self._lock:
            self._commanded = dict(zip(message.name, message.position))

    def _on_action(self, message: Any) -> None:
        actions = np.array(message.action, np.float64).reshape(tuple(message.action_shape))
        action = {'tokens': list(message.token_ids),
                  'instruction': message.instruction,
                  'numbers': [_number(number) for number in actions[0]],
                  'age': _number(message.age_published),
                  'stages': [[name, _number(value)] for name, value
                             in zip(message.stage_names, message.stage_ms)],
                  'path': self._path.project(actions, message.unnorm_key, self._measured)}
        with self._lock:
            self._action = action


def _status(status: Any) -> dict[str, object]:
    return {
        'state': status.state, 'reason': status.reason, 'control_mode': status.control_mode,
        'instruction': status.instruction,
        'version': status.instruction_version, 'loading': _number(status.loading_percent),
        'camera_rate': _number(status.camera_rate),
        'inference_rate': _number(status.inference_rate),
        'command_rate': _number(status.command_rate), 'age': _number(status.last_age),
        'dropped': status.frames_dropped, 'failed': status.frames_failed,
        'commands': status.commands_sent, 'attention': status.attention,
        'device': status.device, 'dtype': status.dtype, 'adapter': status.adapter,
        'limits': [[name, int(count)] for name, count in zip(
            status.action_limit_names, status.action_limit_counts)]}


def _number(value: float) -> float | None:
    """Return a number as JSON has it: there is no NaN."""
    return round(float(value), 6) if math.isfinite(value) else None
