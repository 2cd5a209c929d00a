# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What changes while the node runs: the instruction, by topic or parameter, and the adapter."""

from collections.abc import Callable

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String

from vla_ros.control.controller import Controller
from vla_ros.data.instructions import check_instruction
from vla_ros.data.instructions import InstructionError
from vla_ros.errors import ParameterError


class ParameterChanges:
    """Checks new values of parameters, and hands them to the controller."""

    def __init__(self, node: Node, controller: Controller,
                 is_simulated: Callable[[], bool]) -> None:
        """
        Start to handle changes.

        :param is_simulated: whether the ROS time is simulated.
        """
        self._node = node
        self._controller = controller
        self._is_simulated = is_simulated
        node.add_on_set_parameters_callback(self._check)

    def on_instruction(self, message: String) -> None:
        """Set the parameter ``instruction`` from the topic; an invalid text clears it."""
        instruction = message.data
        try:
            check_instruction(instruction, 'vla/instruction')
        except InstructionError as error:
            # The sender wants another motion, so the present instruction must not go on.
            self._node.get_logger().error(f'{error}; it is refused, and there is no instruction '
                                          'now', throttle_duration_sec=2.0)
            instruction = ''
        if instruction != self._controller.instruction:
            self._node.set_parameters([Parameter('instruction', value=instruction)])

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        # Only those that are not read-only, which rclpy sees to.
        values = {parameter.name: parameter.value for parameter in parameters}
        is_simulated = self._is_simulated()
        try:
            if values.get('use_sim_time', is_simulated) != is_simulated:
                raise ParameterError('use_sim_time', not is_simulated,
                                     'what it was when the node started: an arm has one clock')
            if 'instruction' in values:
                check_instruction(values['instruction'])
            if 'adapter' in values:
                self._controller.choose_adapter(values['adapter'])
        except (InstructionError, ParameterError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        if 'instruction' in values:
            self._controller.instruct(values['instruction'])
        return SetParametersResult(successful=True)
