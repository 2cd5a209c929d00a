# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""vla_doctor --graph reports incompatible endpoints and measures the image stream."""

from dataclasses import replace
import json
import os
import subprocess
import sys

from domains import next_domain
import pytest

from vla_ros.doctor.graph import check_stream
from vla_ros.doctor.graph import check_topic
from vla_ros.doctor.graph import Endpoint
from vla_ros.doctor.graph import mismatches
from vla_ros.doctor.graph import Stream

IMAGE = 'sensor_msgs/msg/Image'
CAMERA = Endpoint('/cam', '/image', IMAGE, True, 'BEST_EFFORT', 'VOLATILE')
NODE = replace(CAMERA, node='/vla', is_publisher=False)
STREAM = Stream('/image', 2.0, 40, 40, 0, [0.01] * 39 + [0.2], 921600, [2 ** 26], False,
                'rmw_fastrtps_cpp')


@pytest.mark.parametrize('change, fix', [
    ({'reliability': 'RELIABLE'}, 'set BEST_EFFORT in /vla, or RELIABLE in /cam'),
    ({'durability': 'TRANSIENT_LOCAL'}, 'set VOLATILE in /vla, or TRANSIENT_LOCAL in /cam'),
    ({'deadline': 0.1}, 'deadline: /vla asks for 0.1 s'),
    ({'liveliness': 'MANUAL_BY_TOPIC'}, 'set AUTOMATIC in /vla'),
    ({'lease': 1.0}, 'liveliness: /vla asks for 1 s'),
    ({'message_type': 'a/msg/B'}, 'remap one of them')])
def test_a_qos_or_type_mismatch_is_reported_with_its_fix(change, fix):
    assert mismatches(CAMERA, NODE) == []
    (problem,) = mismatches(CAMERA, replace(NODE, **change))
    assert fix in problem
    # The other way round more is offered than asked for, except for the type.
    assert bool(mismatches(replace(CAMERA, **change), NODE)) == ('message_type' in change)


def test_a_topic_without_a_publisher_or_subscriber_is_reported():
    (endpoint, unmatched) = check_topic('/image', [CAMERA])
    assert (endpoint.level, unmatched.level) == ('ok', 'warning')
    assert 'BEST_EFFORT, VOLATILE' in endpoint.found and 'no subscriber' in unmatched.found


def test_one_compatible_subscription_of_several_is_enough():
    emergency_stop = replace(CAMERA, node='/button')
    reliable = replace(NODE, reliability='RELIABLE')
    findings = check_topic('/stop', [emergency_stop, NODE, reliable])
    assert [one.level for one in findings] == ['ok'] * 3
    findings = check_topic('/stop', [emergency_stop, reliable, replace(NODE, node='/other')])
    assert [one.level for one in findings] == ['ok'] * 3 + ['error']


@pytest.mark.parametrize('change, level, text', [
    ({}, 'ok', '40 of 40 images arrived in 2 s (20.0 Hz), 0 lost; age p50 10.0 ms, p99 200.0'),
    ({'received': 0, 'ages': []}, 'error', '--print-env fastrtps'),
    ({'published': 80}, 'warning', '40 lost'),
    ({'published': -1, 'lost': 10}, 'warning', '40 of 50'),
    ({'ages': [-1.0]}, 'warning', 'stamps are in the future'),
    ({'received': 0, 'ages': [], 'middleware': 'rmw_cyclonedds_cpp'}, 'error', 'rmem_max')])
def test_loss_and_age_of_an_image_stream_are_reported(change, level, text):
    finding = check_stream(replace(STREAM, **change))[0]
    assert finding.level == level and text in finding.line()


@pytest.mark.parametrize('change, level, text', [
    ({}, 'ok', '64.0 MiB'),
    ({'segments': [2 ** 19]}, 'warning', 'less than two images'),
    ({'segments': []}, 'warning', 'not in use'),
    ({'middleware': 'rmw_cyclonedds_cpp'}, 'ok', 'not in use'),
    ({'middleware': 'rmw_cyclonedds_cpp', 'is_iceoryx': True}, 'ok', 'in use: iceoryx')])
def test_the_use_of_shared_memory_is_reported(change, level, text):
    finding = check_stream(replace(STREAM, **change))[1]
    assert finding.level == level and text in finding.found


CAMERA_PROCESS = """
import rclpy
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, JointState
rclpy.init()
node = rclpy.create_node('cam')
camera = node.create_publisher(Image, '/camera/image_raw', 1)
node.create_publisher(JointState, '/arm/joint_command', 1)
node.create_subscription(JointState, '/arm/joint_command', print, QoSProfile(
    depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL))
image = Image(height=8, width=8, step=24, encoding='rgb8', data=bytes(192))

def send():
    image.header.stamp = node.get_clock().now().to_msg()
    camera.publish(image)
node.create_timer(0.05, send)
print('ready', flush=True)
rclpy.spin(node)
"""


def test_a_running_graph_is_checked():
    pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(next_domain()),
                   'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    camera = subprocess.Popen([sys.executable, '-c', CAMERA_PROCESS], env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert camera.stdout.readline() == 'ready\n'
        done = subprocess.run([sys.executable, '-m', 'vla_ros.cli.doctor', '--graph', '--json'],
                              env=environment, capture_output=True, text=True, timeout=90)
    finally:
        camera.kill()
        camera.communicate()
    findings = json.loads(done.stdout)['findings']
    lines = {(one['subject'], one['level'], one['found']): one['fix'] for one in findings}
    assert any(subject == '/camera/image_raw' and found.startswith('publisher /cam: RELIABLE')
               for subject, _, found in lines)
    assert 'durability' in lines['/arm/joint_command', 'error', '/cam and /cam are not compatible']
    (arrived,) = [found for subject, _, found in lines if 'images arrived' in found]
    received, published = map(int, arrived.split(' images')[0].split(' of '))
    assert 20 < received <= published < 90
