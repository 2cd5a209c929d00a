# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What launch files need to apply a plan: arguments, actions, and an event to wait for."""

from collections.abc import Sequence
import sys
from typing import Any

from launch import Event
from launch import EventHandler
from launch import LaunchContext
from launch import LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument
from launch.actions import EmitEvent
from launch.actions import ExecuteProcess
from launch.actions import GroupAction
from launch.actions import RegisterEventHandler
from launch.actions import SetEnvironmentVariable
from launch.actions import Shutdown
from launch.event_handlers import OnProcessExit
from launch.event_handlers import OnProcessIO
from launch.events.process import ProcessExited
from launch.events.process import ProcessIO

from vla_ros.transport.plan import DEFAULT_DISTRIBUTION
from vla_ros.transport.plan import DEFAULT_FRAME
from vla_ros.transport.plan import FrameSize
from vla_ros.transport.plan import READY
from vla_ros.transport.plan import ROUDI_MODES
from vla_ros.transport.plan import TRANSPORTS
from vla_ros.transport.planner import make_plan
from vla_ros.transport.planner import transport_in_use


class TransportReady(Event):
    """The transport was checked and everything that it needs is running: nodes can start."""

    name = 'vla_ros.transport.TransportReady'


class OnTransportReady(EventHandler):
    """Starts entities once the transport is ready, for the first time."""

    def __init__(self, entities: Sequence[LaunchDescriptionEntity]) -> None:
        """Store what is to be started."""
        super().__init__(matcher=lambda event: isinstance(event, TransportReady),
                         entities=list(entities), handle_once=True)


def when_ready(context: LaunchContext, *entities: LaunchDescriptionEntity) -> list[Any]:
    """Start entities once the transport is ready, with the arguments that are in force now."""
    # By then another launch file that was included may have set its own under the same names.
    # (What SetParameter keeps among them is no text, and belongs to the scope.)
    arguments = {name: value for name, value in context.launch_configurations.items()
                 if isinstance(value, str)}
    group = GroupAction(entities, launch_configurations=arguments)
    return [RegisterEventHandler(OnTransportReady([group]))]


def transport_arguments() -> list[DeclareLaunchArgument]:
    """Declare the arguments that :func:`apply_transport` reads."""
    return [
        DeclareLaunchArgument(
            'transport', default_value='', choices=['', *TRANSPORTS],
            description='Middleware, set up so that images arrive; that of the camera, too '
                        '(iceoryx is CycloneDDS over shared memory); empty: as '
                        'RMW_IMPLEMENTATION says, else fastrtps.'),
        DeclareLaunchArgument(
            'frame', default_value=DEFAULT_FRAME,
            description='Largest image on any topic of this machine, WIDTHxHEIGHT in pixels; '
                        'shared memory is sized for it.'),
        DeclareLaunchArgument(
            'roudi', default_value='auto', choices=list(ROUDI_MODES),
            description='The daemon of iceoryx: start it, expect it to be running, or whichever '
                        'is needed (auto).'),
    ]


def apply_transport(context: LaunchContext) -> list[Any]:
    """
    Set the variables of the plan, and check and start the rest of it in a process.

    The launch ends with one line on the screen if the transport will not work.
    """
    transport, frame, roudi = (context.launch_configurations[name]
                               for name in ('transport', 'frame', 'roudi'))
    transport = transport or transport_in_use(context.environment)
    if not transport:
        return [EmitEvent(event=TransportReady())]
    distribution = context.environment.get('ROS_DISTRO') or DEFAULT_DISTRIBUTION
    plan = make_plan(distribution, transport, context.environment, FrameSize.parse(frame), roudi)
    prepare = ExecuteProcess(
        cmd=[sys.executable, '-m', 'vla_ros.cli.transport', '--run', transport, '--frame', frame,
             '--roudi', roudi, '--distro', distribution],
        name='vla_transport', output='screen')

    def on_output(event: ProcessIO) -> EmitEvent | None:
        return EmitEvent(event=TransportReady()) if READY.encode() in event.text else None

    def on_exit(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
        if event.returncode == 0:
            return None
        return Shutdown(reason=f'transport {transport} does not work, see above')

    return [
        RegisterEventHandler(OnProcessIO(target_action=prepare, on_stdout=on_output)),
        RegisterEventHandler(OnProcessExit(target_action=prepare, on_exit=on_exit)),
        *(SetEnvironmentVariable(name, value) for name, value in plan.environment.items()),
        prepare,
    ]
