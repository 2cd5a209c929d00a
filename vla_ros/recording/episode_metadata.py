# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What is known of an episode beside its messages: instruction, contract, checkpoint, robot."""

from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.serialization import deserialize_message
from std_msgs.msg import String

import vla_ros
from vla_ros.data.contract import ObservationContract
from vla_ros.recording.parameters import NOTED
from vla_ros.recording.topics import message_class


class EpisodeMetadata:
    """Asks the inference node for its parameters, and listens to instruction and status."""

    def __init__(self, node: Node, contract: ObservationContract, inference_node: str) -> None:
        """Start to ask, once a second until it is there."""
        self._node = node
        self._contract = contract
        self._noted: dict[str, str] = {}
        self._status = b''
        self._instruction = b''
        self._client = node.create_client(GetParameters, f'{inference_node}/get_parameters')
        self._future: Any = None
        node.create_timer(1.0, self._ask)

    def note(self, message_type: str, data: bytes) -> None:
        """Keep a serialised message that describes the episode."""
        if message_type == 'vla_ros_msgs/msg/VlaStatus':
            self._status = data
        elif message_type == 'std_msgs/msg/String':
            self._instruction = data

    def known(self) -> dict[str, str]:
        """Return everything that is known now, all of it text."""
        instruction: str = self._node.get_parameter('instruction').value
        status = {}
        if self._instruction:
            instruction = deserialize_message(self._instruction, String).data
        if self._status:
            kind = message_class('vla_ros_msgs/msg/VlaStatus')
            message = deserialize_message(self._status, kind)
            status = {name: str(getattr(message, name)) for name in ('revision', 'adapter')}
            instruction = message.instruction or instruction
        return {'instruction': instruction, 'contract': self._contract.to_yaml(),
                **{name: '' for name in NOTED if name != 'contract'}, **self._noted,
                **{name: value for name, value in status.items() if value},
                'recorder': f'vla_ros {vla_ros.__version__}'}

    def _ask(self) -> None:
        # At each call: the node may have been restarted with another checkpoint.
        if not self._client.service_is_ready():
            return
        if self._future is not None and not self._future.done():
            return
        names = [name for name in NOTED if name != 'contract']
        self._future = self._client.call_async(GetParameters.Request(names=names))
        self._future.add_done_callback(lambda future: self._note(names, future.result()))

    def _note(self, names: list[str], response: Any) -> None:
        if response is None:
            return
        for name, value in zip(names, response.values):
            found = parameter_value_to_python(value)
            self._noted[name] = (', '.join(item for item in found if item)
                                 if isinstance(found, list) else str(found or ''))
