# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Subscribes to what belongs to an observation besides its first image and the joint states."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from std_msgs.msg import Float64MultiArray

from vla_ros.camera.health import image_topic
from vla_ros.control.observation_builder import ObservationBuilder
from vla_ros.control.parameters import NodeConfig
from vla_ros.data.contract import ARRAY
from vla_ros.data.contract import IMAGE
from vla_ros.errors import ParameterError
from vla_ros.ros import messages
from vla_ros.ros.qos import NEWEST


def subscribe_inputs(node: Node, observations: ObservationBuilder, config: NodeConfig,
                     now: Callable[[], int]) -> None:
    """
    Subscribe to the further cameras and the state that the observation contract names.

    :param now: the node's time in nanoseconds, at which a message without a stamp counts.
    :raises ParameterError: the contract's first camera or joint states are on another topic than
        the node's.
    """
    contract = observations.contract
    main, *others = contract.cameras
    topic = node.resolve_topic_name(image_topic(config.image_source))
    if node.resolve_topic_name(main.topic) != topic:
        raise ParameterError('contract', config.contract, f'one whose first camera is on '
                             f'{topic}, not {main.topic}; or remap {topic} to it')

    def take_image(topic: str, read: Callable[[Any], Any], image: Any) -> None:
        observations.image(topic, partial(read, image),
                           messages.nanoseconds(image.header.stamp))

    for camera in others:
        kind, read = (Image, messages.image_rgb) if camera.type == IMAGE else (
            CompressedImage, messages.compressed_rgb)
        node.create_subscription(kind, camera.topic, partial(take_image, camera.topic, read),
                                 NEWEST)
    state = contract.state
    if state is None:
        return
    if state.type == ARRAY:
        node.create_subscription(Float64MultiArray, state.topic,
                                 lambda message: observations.state(message.data, now()), NEWEST)
    elif node.resolve_topic_name(state.topic) != node.resolve_topic_name('joint_states'):
        raise ParameterError('contract', config.contract, 'one whose state is on joint_states '
                             f'or an array, not joints on {state.topic}; or remap it')
