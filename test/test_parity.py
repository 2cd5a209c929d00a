# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Node and converter observe the same pixels and states in one bag."""

import threading
import zlib

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('mcap_ros2', reason='mcap-ros2-support is not installed')
pytest.importorskip('pyarrow', reason='pyarrow is not installed')
pytest.importorskip('vla_ros_msgs', reason='vla_ros_msgs is not built')
from bag_maker import CONTRACT  # noqa: E402, I100
from bag_maker import FRONT  # noqa: E402
from bag_maker import STATE  # noqa: E402
from bag_maker import WRIST  # noqa: E402
from bag_maker import write_bag  # noqa: E402
from node_harness import NEWEST  # noqa: E402
from node_harness import RELIABLE  # noqa: E402
from node_harness import running_node  # noqa: E402
from rclpy.serialization import deserialize_message  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from vla_ros.cli.dataset import main  # noqa: E402
from vla_ros.data.lerobot_dataset import LeRobotDataset  # noqa: E402
from vla_ros.recording.bag_reader import Bag  # noqa: E402
from vla_ros.recording.episode_plan import plan_episode  # noqa: E402
from vla_ros_msgs.msg import VlaAction  # noqa: E402


class Player:
    """Publishes a bag on the topics of a node."""

    def __init__(self, node, observer):
        self.node = node
        self.observer = observer
        self.results = {}
        observer.listen(VlaAction, '/vla/action', RELIABLE, self.take)
        self.publishers = {
            topic: observer.node.create_publisher(kind, topic, NEWEST)
            for topic, kind in ((WRIST, Image), (STATE, JointState))}
        self.publishers[FRONT] = observer.camera
        self.pause = threading.Event()

    def take(self, message):
        """Keep the input stamps of a result by the stamp of its image."""
        self.results[nanoseconds(message.header.stamp)] = dict(
            zip(message.input_names, map(nanoseconds, message.input_stamps)))

    def play(self, bag, expected):
        """
        Publish all inputs of the node in the order of their arrival.

        :param expected: the line that the node prints for an image of the front camera, by stamp.
            Images are published until it is printed, as best effort may lose messages.
        """
        for publisher in self.publishers.values():
            self.observer.wait_for_match(publisher, self.node)
        before = []
        for sample in bag.samples():
            if sample.topic not in self.publishers:
                continue
            message = deserialize_message(sample.data,
                                          JointState if sample.topic == STATE else Image)
            before.append((sample.topic, message))
            if sample.topic == FRONT:
                line = expected.get(nanoseconds(message.header.stamp))
                for _ in range(30 if line else 1):
                    self.publish(before)
                    if line in self.node.lines:
                        break
                else:
                    assert line is None, self.node.report(f'the node never printed {line}')
                before = []

    def publish(self, messages):
        """Publish messages one by one, with time for the node to receive each."""
        for topic, message in messages:
            self.publishers[topic].publish(message)
            self.pause.wait(0.005)
        stamp = nanoseconds(messages[-1][1].header.stamp)
        with self.observer.changed:
            self.observer.changed.wait_for(lambda: stamp in self.results, 0.3)


def nanoseconds(stamp):
    """Return a stamp in ns."""
    return stamp.sec * 10**9 + stamp.nanosec


def test_the_node_observes_the_images_and_states_of_the_converted_dataset(tmp_path):
    bag = Bag(write_bag(tmp_path / 'bag', 1.2))
    contract = tmp_path / 'contract.yaml'
    contract.write_text(CONTRACT.to_yaml().replace(FRONT, '/camera/image_raw'))
    assert main(['convert', str(bag.path), '--out', str(tmp_path / 'out'), '--storage',
                 'images']) == 0
    dataset = LeRobotDataset(tmp_path / 'out')
    frames = plan_episode(bag, CONTRACT).frames
    assert len(frames) == len(dataset) >= 10
    expected = {}
    for row, frame in enumerate(frames):
        sums = [zlib.crc32(dataset.image(row, camera).tobytes()) for camera in dataset.cameras]
        np.testing.assert_array_equal(np.float32(frame.state), dataset.states[row])
        expected[frame.stamp] = f'observed {sums} {frame.state.tolist()}'
    assert len(set(expected.values())) == len(frames)
    with running_node('observing', contract=str(contract), image__frozen_stamps='0.0',
                      instruction='"pick up the red block"') as (node, observer):
        observer.wait_for_state('WAITING', node, 'no image')
        player = Player(node, observer)
        player.play(bag, expected)
    assert set(next(iter(player.results.values()))) == {'front', 'wrist', 'joint_1', 'gripper'}
