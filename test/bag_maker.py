# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Bags of an arm that moves before two cameras, valid or with a fault."""

import math

from builtin_interfaces.msg import Time
import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from vla_ros.data.contract import CameraInput
from vla_ros.data.contract import ObservationContract
from vla_ros.data.contract import VectorInput
from vla_ros.recording.bag_writer import BagWriter
from vla_ros.recording.bag_writer import RecordedTopic
from vla_ros.recording.message_definitions import definition
from vla_ros_msgs.msg import VlaAction
from vla_ros_msgs.msg import VlaStatus

JOINTS = ('joint_1', 'gripper')
FRONT, WRIST = '/front/image_raw', '/wrist/image_raw'
STATE, COMMAND = '/joint_states', '/arm/joint_command'
INSTRUCTION, ACTION, STATUS = '/vla/instruction', '/vla/action', '/vla/status'
CONTRACT = ObservationContract(
    cameras=(CameraInput('front', FRONT, max_age=0.1), CameraInput('wrist', WRIST, max_age=0.1)),
    state=VectorInput(STATE, JOINTS, max_age=0.1),
    action=VectorInput(COMMAND, JOINTS, align='next', max_age=0.2),
    fps=10.0, max_skew=0.05, robot_type='two_axes')
TYPES = {FRONT: 'sensor_msgs/msg/Image', WRIST: 'sensor_msgs/msg/Image',
         STATE: 'sensor_msgs/msg/JointState', COMMAND: 'sensor_msgs/msg/JointState',
         INSTRUCTION: 'std_msgs/msg/String', ACTION: 'vla_ros_msgs/msg/VlaAction',
         STATUS: 'vla_ros_msgs/msg/VlaStatus'}
#: Begin of the bags in ns.
START = 1_700_000_000_000_000_000
SIZE = (48, 64)


def pixels(camera, number, size=SIZE):
    """Draw the image of a camera: smooth, so that a video keeps it, and different each time."""
    rows, columns = np.mgrid[0:size[0], 0:size[1]]
    shift = 4 * number + (0 if camera == FRONT else 90)
    channels = [(2 * rows + shift) % 256, (2 * columns + shift) % 256,
                np.full(size, (3 * number) % 256)]
    return np.stack(channels, 2).astype(np.uint8)


def position(seconds):
    """Return the positions of the joints."""
    return [0.5 * math.sin(seconds), 0.02 + 0.02 * math.cos(seconds)]


def stamp_of(moment):
    """Return a stamp as a message."""
    seconds, nanosec = divmod(moment, 1_000_000_000)
    return Time(sec=seconds, nanosec=nanosec)


def joint_state(moment, values):
    """Make joint states, or a command."""
    message = JointState(name=list(JOINTS), position=[float(value) for value in values])
    message.header.stamp = stamp_of(moment)
    return message


def image(camera, moment, number, size=SIZE):
    """Make an image message."""
    rgb = pixels(camera, number, size)
    message = Image(height=size[0], width=size[1], encoding='rgb8', step=3 * size[1])
    message.header.stamp = stamp_of(moment)
    message.data.frombytes(rgb.tobytes())
    return message


def messages(seconds, hertz=30):
    """Return topic, arrival, stamp and message of an episode, in the order of their arrival."""
    found = []
    for number in range(int(seconds * hertz)):
        moment = START + round(number * 1e9 / hertz)
        for camera, delay in ((FRONT, 0), (WRIST, 5_000_000)):
            found.append((camera, moment + delay + 8_000_000, moment + delay, number))
        command = [value + 0.01 for value in position((moment - START) * 1e-9)]
        found.append((COMMAND, moment + 30_000_000, moment, command))
    for number in range(int(seconds * 100)):
        moment = START + number * 10_000_000 - 2_000_000
        found.append((STATE, moment + 1_000_000, moment, position((moment - START) * 1e-9)))
    return sorted(found, key=lambda one: one[1])


def write_bag(folder, seconds=3.0, instruction='pick up the red block', change=None, results=False,
              metadata=None, contract=CONTRACT, size=SIZE, takeovers=()):
    """
    Write a bag.

    :param change: called with topic, seconds since the beginning, arrival, stamp and value of each
        message; gives arrival, stamp and value, or None to leave the message out.
    :param takeovers: beginning and end of each, in seconds.
    :param results: whether the bag holds a result of every third image of the front camera; the
        number of an image makes the result of that image not finite.
    """
    topics = [RecordedTopic(topic, kind, definition(*kind.split('/')[::2]))
              for topic, kind in TYPES.items()]
    bag = BagWriter(folder, topics, 'none',
                    {'contract': contract.to_yaml(), 'instruction': instruction})
    if instruction:
        write(bag, INSTRUCTION, START - 1_000_000_000, String(data=instruction))
    modes = [(begins, 'TAKEOVER') for begins, _ in takeovers]
    modes += [(ends, 'PAUSED') for _, ends in takeovers]
    # They reach the recorder late, which is allowed, as their stamps count.
    for since, mode in sorted(modes):
        write(bag, STATUS, START + round(1e9 * since) + 100_000_000, status(since, mode))
    for topic, arrival, stamp, value in messages(seconds):
        if change is not None:
            changed = change(topic, (stamp - START) * 1e-9, arrival, stamp, value)
            if changed is None:
                continue
            arrival, stamp, value = changed
        if topic in (FRONT, WRIST):
            write(bag, topic, arrival, image(topic, stamp, value, size))
            if results and topic == FRONT and value % 3 == 0 and value:
                action = (math.nan, 0.0) if value == results else (0.0, 0.0)
                write(bag, ACTION, arrival + 20_000_000, result_message(stamp, action))
        else:
            write(bag, topic, arrival, joint_state(stamp, value))
    bag.finish()
    bag.close({'outcome': 'success', 'ended_by': 'operator', **(metadata or {})})
    return folder


def result_message(stamp, action=(0.0, 0.0)):
    """Make a vla/action whose inputs are those of the contract."""
    message = VlaAction(instruction='pick up the red block', action=list(action))
    message.header.stamp = stamp_of(stamp)
    number = round((stamp - START) * 1e-9 * 30)
    wrist = START + round((number - 1) * 1e9 / 30) + 5_000_000
    joints = START + (stamp - START + 2_000_000) // 10_000_000 * 10_000_000 - 2_000_000
    message.input_names = ['main', 'extra_0', *JOINTS]
    message.input_stamps = [stamp_of(one) for one in (stamp, wrist, joints, joints)]
    return message


def status(since, control_mode):
    """Make a status of a node that runs."""
    message = VlaStatus(state='RUNNING', control_mode=control_mode)
    message.header.stamp = stamp_of(START + round(1e9 * since))
    return message


def write(bag, topic, arrival, message):
    """Write a message."""
    bag.write(topic, bytes(serialize_message(message)), arrival, arrival, 0)
