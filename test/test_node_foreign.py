# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node seen by CycloneDDS, another DDS implementation, without ROS."""

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
import threading
import time
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('cyclonedds', reason='pip install cyclonedds brings the foreign DDS')

from cyclonedds.builtin import BuiltinDataReader  # noqa: E402, I100
from cyclonedds.builtin import BuiltinTopicDcpsPublication  # noqa: E402
from cyclonedds.builtin import BuiltinTopicDcpsSubscription  # noqa: E402
from cyclonedds.core import Policy  # noqa: E402
from cyclonedds.core import Qos  # noqa: E402
from cyclonedds.domain import Domain  # noqa: E402
from cyclonedds.domain import DomainParticipant  # noqa: E402
from cyclonedds.idl import IdlStruct  # noqa: E402
from cyclonedds.idl.annotations import final  # noqa: E402
from cyclonedds.idl.types import float64  # noqa: E402
from cyclonedds.idl.types import int32  # noqa: E402
from cyclonedds.idl.types import sequence  # noqa: E402
from cyclonedds.idl.types import uint32  # noqa: E402
from cyclonedds.idl.types import uint8  # noqa: E402
from cyclonedds.pub import DataWriter  # noqa: E402
from cyclonedds.sub import DataReader  # noqa: E402
from cyclonedds.topic import Topic  # noqa: E402
from cyclonedds.util import duration  # noqa: E402
from domains import next_domain  # noqa: E402
from node_harness import DEADLINE  # noqa: E402
from node_harness import NodeProcess  # noqa: E402

# IgnoreTypeInformation: without it CycloneDDS discovers Fast DDS 3 but cannot read its description
# of the types. The rest is how ROS nodes of the LOCALHOST range are found: unicast over loopback.
CONFIGURATION = """<CycloneDDS><Domain Id="any">
<General><Interfaces><NetworkInterface address="127.0.0.1"/></Interfaces>
<AllowMulticast>false</AllowMulticast></General>
<Discovery><ParticipantIndex>auto</ParticipantIndex>
<MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>
<Peers><Peer address="127.0.0.1"/></Peers></Discovery>
<Compatibility><IgnoreTypeInformation>1.15</IgnoreTypeInformation></Compatibility>
</Domain></CycloneDDS>"""

RELIABLE = Policy.Reliability.Reliable(duration(seconds=1))
BEST_EFFORT = Policy.Reliability.BestEffort


@dataclass
@final
class Time(IdlStruct, typename='builtin_interfaces::msg::dds_::Time_'):
    """The message of ROS."""

    sec: int32
    nanosec: uint32


@dataclass
@final
class Header(IdlStruct, typename='std_msgs::msg::dds_::Header_'):
    """The message of ROS."""

    stamp: Time
    frame_id: str


@dataclass
@final
class Image(IdlStruct, typename='sensor_msgs::msg::dds_::Image_'):
    """The message of ROS."""

    header: Header
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


@dataclass
@final
class JointState(IdlStruct, typename='sensor_msgs::msg::dds_::JointState_'):
    """The message of ROS."""

    header: Header
    name: sequence[str]
    position: sequence[float64]
    velocity: sequence[float64]
    effort: sequence[float64]


@pytest.fixture(scope='module')
def foreign() -> Iterator[tuple[NodeProcess, DomainParticipant]]:
    """Run the node, and join its domain with CycloneDDS."""
    number = next_domain()
    domain = Domain(number, CONFIGURATION)
    node = NodeProcess(number, 'obedient', {'instruction': 'task 5'})
    participant = DomainParticipant(number)
    yield node, participant
    node.end()
    del participant, domain


def poll(condition: Callable[[], Any], what: str, node: NodeProcess) -> Any:
    """Wait for a condition."""
    pause = threading.Event()
    end = time.monotonic() + DEADLINE
    while not (result := condition()):
        assert time.monotonic() < end, node.report(f'not within {DEADLINE} s: {what}')
        pause.wait(0.01)
    return result


def assert_keeps_one(qos: Qos) -> None:
    """Check the history, which CycloneDDS publishes; Fast DDS does not, and it is the default."""
    assert qos[Policy.History] == Policy.History.KeepLast(1)


def discover_qos(participant: DomainParticipant, builtin_topic: Any, topic: str,
                 node: NodeProcess) -> Qos:
    """Discover the node's endpoint of a topic; return its QoS."""
    reader = BuiltinDataReader(participant, builtin_topic)

    def find() -> list[Any]:
        return [sample for sample in reader.read(200) if sample.topic_name == topic]
    return poll(find, topic, node)[0].qos


@pytest.mark.parametrize('topic, durability', [
    ('rt/arm/joint_command', Policy.Durability.Volatile),
    ('rt/vla/action', Policy.Durability.Volatile),
    ('rt/vla/status', Policy.Durability.TransientLocal)])
def test_published_topics_have_their_documented_qos(foreign: tuple[NodeProcess, DomainParticipant],
                                                    topic: str, durability: Any) -> None:
    if topic.startswith('rt/vla/'):
        pytest.importorskip('vla_ros_msgs', reason='vla_ros_msgs is not built')
    node, participant = foreign
    qos = discover_qos(participant, BuiltinTopicDcpsPublication, topic, node)
    assert isinstance(qos[Policy.Reliability], Policy.Reliability.Reliable)
    assert qos[Policy.Durability] == durability
    assert_keeps_one(qos)
    assert qos[Policy.Deadline].deadline > 10 ** 18


@pytest.mark.parametrize('topic, is_reliable', [
    ('rt/camera/image_raw', False), ('rt/joint_states', False),
    ('rt/vla/instruction', True)])
def test_subscribed_topics_have_their_documented_qos(foreign: tuple[NodeProcess,
                                                     DomainParticipant], topic: str,
                                                     is_reliable: bool) -> None:
    node, participant = foreign
    qos = discover_qos(participant, BuiltinTopicDcpsSubscription, topic, node)
    assert (qos[Policy.Reliability] != BEST_EFFORT) is is_reliable
    assert qos[Policy.Durability] == Policy.Durability.Volatile
    assert_keeps_one(qos)


@pytest.mark.parametrize('reliability', [RELIABLE, BEST_EFFORT], ids=['reliable', 'best effort'])
def test_images_and_commands_are_exchanged_with_another_dds(foreign: tuple[NodeProcess,
                                                            DomainParticipant],
                                                            reliability: Any) -> None:
    """An image of 224x224 reaches the node, and its command the subscriber."""
    node, participant = foreign
    qos = Qos(reliability, Policy.History.KeepLast(1))
    camera = DataWriter(participant, Topic(participant, 'rt/camera/image_raw', Image), qos)
    arm = DataReader(participant, Topic(participant, 'rt/arm/joint_command', JointState), qos)
    poll(camera.get_matched_subscriptions, 'the node listens', node)
    poll(arm.get_matched_publications, 'the node commands', node)
    pixels = bytes([11, 22, 33]) * (224 * 224)
    image = Image(Header(Time(12, 34), 'eye'), 224, 224, 'rgb8', 0, 3 * 224, list(pixels))
    commands: list[JointState] = []

    def has_command() -> bool:
        camera.write(image)
        commands.extend(sample for sample in arm.take(10) if isinstance(sample, JointState))
        return bool(commands)
    poll(has_command, 'a command', node)
    assert commands[0].header == Header(Time(12, 34), 'eye')
    assert list(commands[0].position) == [11, 22, 33, 5, 0, 0, 0]


def test_a_subscriber_of_latched_commands_is_not_matched(
        foreign: tuple[NodeProcess, DomainParticipant]) -> None:
    """A stale command must not reach a late subscriber, so TRANSIENT_LOCAL does not match."""
    node, participant = foreign
    arm = DataReader(participant, Topic(participant, 'rt/arm/joint_command', JointState),
                     Qos(RELIABLE, Policy.Durability.TransientLocal))
    durability_policy_id = 2
    poll(lambda: arm.get_requested_incompatible_qos_status().last_policy_id
         == durability_policy_id, 'the mismatch', node)
    assert not arm.get_matched_publications()
