# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node as a process: inputs and outputs over DDS."""

from collections.abc import Iterator
import itertools
import signal

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from domains import next_domain  # noqa: E402, I100
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from lifecycle_msgs.srv import GetState  # noqa: E402
from node_harness import camera_image  # noqa: E402
from node_harness import NodeProcess  # noqa: E402
from node_harness import Observer  # noqa: E402
from node_harness import RELIABLE  # noqa: E402
from node_harness import running_node  # noqa: E402
from rcl_interfaces.msg import ParameterType  # noqa: E402
from rcl_interfaces.msg import ParameterValue  # noqa: E402
from rcl_interfaces.srv import DescribeParameters  # noqa: E402
from rcl_interfaces.srv import GetParameters  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

NODE = '/vla_inference_node'


@pytest.fixture(scope='module')
def shared() -> Iterator[tuple[NodeProcess, Observer]]:
    """Run one node for all tests that leave it running."""
    with running_node(status__period='0.05') as node_and_observer:
        yield node_and_observer


def set_instruction(observer: Observer, node: NodeProcess, instruction: str) -> int:
    """Change the instruction; return the number of frames that have failed."""
    assert not set_parameter(observer, node, 'instruction', instruction)
    observer.wait(lambda: observer.diagnostics
                  and observer.diagnostics[-1]['instruction'] == instruction, instruction, node)
    observer.wait_for_match(observer.camera, node)
    observer.commands.clear()
    return int(observer.diagnostics[-1]['frames failed'])


def set_parameter(observer: Observer, node: NodeProcess, name: str, value: object) -> str:
    """Set a parameter by its service; return the reason of a refusal, or an empty text."""
    request = SetParameters.Request(
        parameters=[Parameter(name, value=value).to_parameter_msg()])
    result = observer.call(SetParameters, f'{NODE}/set_parameters', request, node).results[0]
    return '' if result.successful else result.reason or 'refused'


def get_parameter(observer: Observer, node: NodeProcess, name: str) -> ParameterValue:
    """Get a parameter by its service."""
    request = GetParameters.Request(names=[name])
    return observer.call(GetParameters, f'{NODE}/get_parameters', request, node).values[0]


def change_state(observer: Observer, node: NodeProcess, transition: int) -> bool:
    """Request a lifecycle transition."""
    request = ChangeState.Request(transition=Transition(id=transition))
    return observer.call(ChangeState, f'{NODE}/change_state', request, node).success


def lifecycle_state(observer: Observer, node: NodeProcess) -> str:
    """Get the lifecycle state."""
    request = GetState.Request()
    return observer.call(GetState, f'{NODE}/get_state', request, node).current_state.label


def show_until_commanded(observer: Observer, node: NodeProcess, red: int) -> JointState:
    """Publish an image repeatedly until a command of it arrives."""
    observer.wait_for_match(observer.camera, node)

    def find_command() -> object:
        return next((command for command in reversed(observer.commands)
                     if command.position[0] == red), None)
    with observer.changed:
        for _ in range(300):
            observer.show(camera_image(red))
            if observer.changed.wait_for(find_command, 0.1):
                return find_command()
    raise AssertionError(node.report(f'no command for the image {red}'))


def test_a_command_carries_the_stamp_and_frame_of_its_image(
        shared: tuple[NodeProcess, Observer]) -> None:
    """The command of an image has the names of the dimensions."""
    node, observer = shared
    set_instruction(observer, node, 'task 5')
    observer.wait_for_state('WAITING', node, 'no image on /camera/image_raw')
    observer.show(camera_image(7, stamp=123_000_000_456))
    observer.wait(lambda: observer.commands, 'a command', node)
    command = observer.commands[0]
    assert (command.header.stamp.sec, command.header.stamp.nanosec) == (123, 456)
    assert command.header.frame_id == 'camera'
    assert command.name == ['x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper']
    assert list(command.position) == [7, 0, 0, 5, 0, 0, 0]
    observer.wait_for_state('RUNNING', node)


def test_loading_does_not_block_the_executor() -> None:
    """Status, parameters and lifecycle services respond while weights are loaded."""
    with running_node('endless_loading') as (node, observer):
        status = observer.wait_for_state('LOADING', node, 'loading a fake for ever')
        assert status['loading [%]'] == '50'
        assert get_parameter(observer, node, 'device').string_value == 'auto'
        assert lifecycle_state(observer, node) == 'configuring'
        assert not set_parameter(observer, node, 'instruction', 'task 1')
        observer.wait(lambda: observer.diagnostics[-1]['instruction'] == 'task 1',
                      'the new instruction', node)


def test_only_the_newest_frame_that_waits_is_inferred() -> None:
    with running_node('stepwise', instruction='task 1', status__period='0.05') as (node, observer):
        observer.wait_for_state('WAITING', node, 'no image')
        observer.wait_for_match(observer.camera, node)
        for red in range(1, 11):
            observer.show(camera_image(red))
            observer.wait(lambda: int(observer.diagnostics[-1]['frames received']) == red,
                          f'frame {red}', node)
            if red == 1:
                line = node.wait_for_line('inferring [1,')
        node.finish_inference()
        node.wait_for_line('inferring [10,', after=line)
        assert len(node.lines) == line + 1, node.report('another frame was inferred')
        # The topic holds one command: the next one may replace it before it is received.
        observer.wait(lambda: observer.commands, 'the first command', node)
        node.finish_inference()
        observer.wait(lambda: len(observer.commands) == 2, 'two commands', node)
        observer.wait(lambda: observer.diagnostics[-1]['commands sent'] == '2', 'both', node)
        assert observer.diagnostics[-1]['frames dropped'] == '8'


def malformed_images() -> list[Image]:
    """Return twenty images, each unreadable for another reason."""
    images = []
    for encoding, (height, width), step, size in [
            ('rgb8', (8, 8), 23, 184), ('rgb8', (8, 8), 0, 0), ('rgb8', (8, 8), 24, 191),
            ('rgb8', (8, 8), 24, 193), ('rgb8', (8, 8), 24, 0), ('rgb8', (0, 8), 24, 0),
            ('rgb8', (8, 0), 0, 0), ('rgb8', (0, 0), 0, 0), ('bgr8', (8, 8), 8, 64),
            ('rgba8', (8, 8), 24, 192), ('bgra8', (8, 8), 24, 192), ('mono8', (8, 8), 4, 32),
            ('mono8', (2 ** 32 - 1, 2 ** 32 - 1), 2 ** 32 - 1, 16), ('', (8, 8), 24, 192),
            ('rgb8', (2 ** 32 - 1, 1), 3, 3), ('RGB8', (8, 8), 24, 192),
            ('no such encoding', (8, 8), 24, 192), ('rgb8\n', (8, 8), 24, 192),
            ('32FC1', (8, 8), 7, 1), ('bayer_rggb8', (8, 8), 1, 1)]:
        image = Image(encoding=encoding, height=height, width=width, step=step)
        image.data.frombytes(bytes(size))
        images.append(image)
    return images


def test_a_hundred_malformed_images_move_nothing_and_the_next_good_one_does(
        shared: tuple[NodeProcess, Observer]) -> None:
    """Each malformed image is counted as a failure."""
    node, observer = shared
    failed = set_instruction(observer, node, 'task 1')
    images = itertools.islice(itertools.cycle(malformed_images()), 100)
    for count, image in enumerate(images, failed + 1):
        observer.show(image)
        observer.wait(lambda: int(observer.diagnostics[-1]['frames failed']) == count,
                      f'failure {count}: {image.encoding!r}', node)
        if image.encoding == 'no such encoding':
            status = observer.wait_for_state('HOLD', node, "'no such encoding'")
            assert 'cv_bridge' in status['message']
    assert not observer.commands
    show_until_commanded(observer, node, 9)
    observer.wait_for_state('RUNNING', node)


@pytest.mark.parametrize('failure, reason', [
    ('invalid', 'invalid action: a word instead of an action; token ids [1, 2, 3]'),
    ('crash', 'RuntimeError: out of everything'),
    ('nan', 'the action is not finite')])
def test_a_failing_policy_moves_nothing(shared: tuple[NodeProcess, Observer], failure: str,
                                        reason: str) -> None:
    """The failure is named and counted; another instruction works again."""
    node, observer = shared
    failed = set_instruction(observer, node, failure)
    observer.show(camera_image(1))
    status = observer.wait_for_state('HOLD', node, reason)
    assert int(status['frames failed']) == failed + 1
    assert not observer.commands
    set_instruction(observer, node, 'task 2')
    assert show_until_commanded(observer, node, 2).position[3] == 2


def test_no_command_of_an_old_instruction_follows_the_acknowledgement_of_a_new_one() -> None:
    """Instructions change while inferences of the previous one run."""
    received = []
    with running_node('delay=0.05', instruction='task 0') as (node, observer):
        observer.node.create_subscription(
            JointState, '/arm/joint_command',
            lambda message, info: received.append((info['source_timestamp'], message)), RELIABLE)
        observer.wait_for_state('WAITING', node, 'no image')
        observer.wait_for_match(observer.camera, node)
        observer.wait_for_match(observer.operator, node)
        camera = observer.node.create_timer(0.01, lambda: observer.show(camera_image(1)))
        acknowledged = []
        line = 0
        for number in range(1, 21):
            if number % 2:
                observer.wait(lambda: observer.commands[-1:]
                              and observer.commands[-1].position[3] == number - 1,
                              f'a command of task {number - 1}', node)
                line = len(node.lines)
            line = node.wait_for_line(f'task {number - 1}', after=line)
            observer.instruct(f'task {number}')
            observer.wait(
                lambda: observer.diagnostics[-1]['instruction version'] == str(number),
                f'version {number}', node)
            acknowledged.append(observer.diagnostics[-1]['stamp'])
        node.wait_for_line('task 20', after=line)
        observer.node.destroy_timer(camera)
        status = observer.diagnostics[-1]
    assert int(status['results discarded']) >= 15, 'too few inferences were running'
    assert len(received) >= 10
    for published, command in received:
        number = int(command.position[3])
        if number < 20:
            assert published <= acknowledged[number], f'a command of task {number} came late'


def test_topic_and_parameter_set_the_same_instruction(
        shared: tuple[NodeProcess, Observer]) -> None:
    """Either of them changes both; a repetition changes nothing."""
    node, observer = shared
    set_instruction(observer, node, 'task 0')
    version = int(observer.diagnostics[-1]['instruction version'])
    observer.wait_for_match(observer.operator, node)
    observer.instruct('task 1')
    observer.wait(lambda: observer.diagnostics[-1]['instruction'] == 'task 1', '1', node)
    assert get_parameter(observer, node, 'instruction').string_value == 'task 1'
    observer.instruct('task 1')
    assert not set_parameter(observer, node, 'instruction', 'task 1')
    assert not set_parameter(observer, node, 'instruction', 'task 2')
    observer.wait(lambda: observer.diagnostics[-1]['instruction'] == 'task 2', '2', node)
    assert int(observer.diagnostics[-1]['instruction version']) == version + 2
    assert not set_parameter(observer, node, 'instruction', '')
    observer.wait_for_state('WAITING', node, 'no instruction')


def test_an_emergency_stop_lasts_until_release_and_rearm() -> None:
    """No running inference leads to a command, and a release alone changes nothing."""
    with running_node('stepwise', instruction='task 1', status__period='0.05') as (node, observer):
        button = observer.node.create_publisher(Bool, '/arm/estop', RELIABLE)
        observer.wait_for_state('WAITING', node, 'no image')
        observer.wait_for_match(observer.camera, node)
        observer.wait_for_match(button, node)
        observer.show(camera_image(1))
        line = node.wait_for_line('inferring [1,')
        button.publish(Bool(data=True))
        observer.wait_for_state('ESTOP', node, 'pressed')
        node.finish_inference()
        observer.wait(lambda: observer.diagnostics[-1]['results discarded'] == '1', 'discarded',
                      node)
        rearm = observer.call(Trigger, f'{NODE}/rearm', Trigger.Request(), node)
        assert not rearm.success
        assert 'released' in rearm.message
        button.publish(Bool(data=False))
        observer.wait_for_state('ESTOP', node, '~/rearm')
        observer.show(camera_image(2))
        observer.wait(lambda: observer.diagnostics[-1]['frames dropped'] == '1', 'dropped', node)
        assert observer.call(Trigger, f'{NODE}/rearm', Trigger.Request(), node).success
        observer.show(camera_image(3))
        node.wait_for_line('inferring [3,', after=line)
        node.finish_inference()
        observer.wait(lambda: observer.commands, 'a command', node)
        assert [command.position[0] for command in observer.commands] == [3]


def test_without_autostart_the_node_follows_lifecycle_transitions() -> None:
    with running_node(instruction='task 1', autostart='false') as (node, observer):
        observer.wait_for_state('UNCONFIGURED', node)
        assert lifecycle_state(observer, node) == 'unconfigured'
        assert change_state(observer, node, Transition.TRANSITION_CONFIGURE)
        observer.wait_for_state('WAITING', node, 'to be activated')
        for _ in range(2):
            assert change_state(observer, node, Transition.TRANSITION_ACTIVATE)
            show_until_commanded(observer, node, 1)
            assert change_state(observer, node, Transition.TRANSITION_DEACTIVATE)
            observer.commands.clear()
        assert change_state(observer, node, Transition.TRANSITION_CLEANUP)
        observer.wait_for_state('UNCONFIGURED', node)
        assert change_state(observer, node, Transition.TRANSITION_CONFIGURE)
        assert not observer.commands


def test_joint_names_of_another_number_are_a_fault_at_configure() -> None:
    with running_node(action__space='joint_position', action__joint_names='[a,b,c,d,e,f]') as (
            node, observer):
        observer.wait_for_state('FAULT', node, 'action.joint_names: got')
        assert '7 names' in observer.diagnostics[-1]['message']
        observer.poll(lambda: lifecycle_state(observer, node) == 'unconfigured',
                      'unconfigured again', node)


def test_joint_delta_is_added_to_joints_measured_by_several_messages() -> None:
    """Joints are measured by two messages in another order; without them nothing moves."""
    with running_node(action__space='joint_delta', action__joint_names='[a,b,c,d,e,f,g]',
                      instruction='task 1') as (node, observer):
        arm = observer.node.create_publisher(JointState, '/joint_states', RELIABLE)
        observer.wait_for_state('WAITING', node, 'no image')
        observer.wait_for_match(observer.camera, node)
        observer.wait_for_match(arm, node)
        observer.show(camera_image(3))
        observer.wait_for_state('HOLD', node, 'no measured position of a, b, c')
        arm.publish(JointState(name=['g', 'f'], position=[0.7, 0.6]))
        # Images and joint states are received by different threads: an image may overtake.
        for _ in range(300):
            observer.show(camera_image(3))
            with observer.changed:
                if observer.changed.wait_for(lambda: 'no measured position of a, b, c, d, e:'
                                             in observer.diagnostics[-1]['message'], 0.1):
                    break
        observer.wait_for_state('HOLD', node, 'no measured position of a, b, c, d, e:')
        arm.publish(JointState(name=['e', 'd', 'c', 'b', 'a'],
                               position=[0.5, 0.4, 0.3, 0.2, 0.1]))
        for _ in range(300):
            observer.show(camera_image(3))
            with observer.changed:
                if observer.changed.wait_for(lambda: observer.commands, 0.1):
                    break
        command = observer.commands[0]
        assert command.name == list('abcdefg')
        np.testing.assert_allclose(command.position, [3.1, 0.2, 0.3, 1.4, 0.5, 0.6, 0.7])


def test_parameters_have_descriptions_ranges_and_are_read_only(
        shared: tuple[NodeProcess, Observer]) -> None:
    node, observer = shared
    request = DescribeParameters.Request(names=['device', 'instruction', 'status.period'])
    device, instruction, period = observer.call(
        DescribeParameters, f'{NODE}/describe_parameters', request, node).descriptors
    assert device.read_only
    assert device.additional_constraints == 'it must be one of auto, cpu, cuda'
    assert not instruction.read_only
    assert instruction.type == ParameterType.PARAMETER_STRING
    assert (period.floating_point_range[0].from_value,
            period.floating_point_range[0].to_value) == (0.05, 10.0)
    assert set_parameter(observer, node, 'device', 'cuda')
    assert 'it must be what it was' in set_parameter(observer, node, 'use_sim_time', True)
    assert not set_parameter(observer, node, 'use_sim_time', False)


@pytest.mark.parametrize('parameters, line', [
    ({'device': 'tpu'}, "device: got 'tpu', it must be one of auto, cpu, cuda"),
    ({'status.period': '0.0'}, 'status.period'),
    ({'autostart': '3'}, 'autostart')])
def test_an_invalid_parameter_ends_the_process_with_one_line(
        parameters: dict[str, str], line: str) -> None:
    node = NodeProcess(next_domain(), 'obedient', parameters)
    assert node.wait() == 2, node.report('another exit status')
    errors = [error for error in node.errors if 'vla_ros_msgs is not built' not in error]
    assert len(errors) == 1 and line in errors[0], node.report('not one line')


def test_without_vla_ros_msgs_the_node_runs_and_says_how_to_build_them() -> None:
    with running_node('no_messages', instruction='task 1') as (node, observer):
        show_until_commanded(observer, node, 1)
        assert node.end(signal.SIGINT)[0] == 0
    lines = [line for line in node.errors if 'colcon build --base-paths . msg' in line]
    assert len(lines) == 1, node.report('not reported once')
