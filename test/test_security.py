# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The access policy is complete for the node, and enforced where DDS Security is built in."""

import importlib.util
import os
from pathlib import Path
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from domains import next_domain  # noqa: E402, I100
from node_harness import running_node  # noqa: E402
import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402

POLICIES = Path(__file__).parents[1] / 'config' / 'security' / 'policies.xml'
NODE = 'vla_inference_node'

# With the enclave of the camera, publishing an instruction and receiving images are refused.
INTRUDER = """
import sys, rclpy
from sensor_msgs.msg import Image
from std_msgs.msg import String
rclpy.init(args=['--ros-args', '--enclave', '/camera'])
node = rclpy.create_node('camera')
node.create_publisher(Image, '/camera/image_raw', 1)
for forbidden in (lambda: node.create_publisher(String, '/vla/instruction', 1),
                  lambda: node.create_subscription(Image, '/camera/image_raw', print, 1)):
    try:
        forbidden()
    except Exception as error:
        print('refused', error)
    else:
        sys.exit('allowed')
"""

ACTIONS = {('topic', 'publish'): ('execute', ('feedback', 'status')),
           ('topic', 'subscribe'): ('call', ('feedback', 'status')),
           ('service', 'reply'): ('execute', ('send_goal', 'cancel_goal', 'get_result')),
           ('service', 'request'): ('call', ('send_goal', 'cancel_goal', 'get_result'))}


def allowed_names(enclave, kind, access):
    """Return the full names that the policy allows."""
    root = ElementTree.parse(POLICIES).getroot()
    profile = root.find(f"enclaves/enclave[@path='{enclave}']/profiles/profile")
    named = {name.text.replace('~', f'/{NODE}')
             for group in profile.findall(f'{kind}s') if group.get(access) == 'ALLOW'
             for name in group.findall(kind)}
    # As sros2 reads it: an action is two topics and three services.
    side, names = ACTIONS.get((kind, access), ('', ()))
    return named | {f'{action.text}/_action/{name}' for group in profile.findall('actions')
                    if group.get(side) == 'ALLOW' for action in group.findall('action')
                    for name in names}


def test_the_policy_allows_exactly_the_topics_and_services_of_the_node():
    """The policy is compared with the graph of a running node."""
    with running_node('arm=0.0', robot__file='six_axis_arm', robot__urdf='topic',
                      use_sim_time='true', teleop__enabled='true') as (node, observer):
        observer.wait(lambda: observer.diagnostics, 'a status', node)
        graph = observer.node
        observer.poll(lambda: NODE in graph.get_node_names(), 'the node on the graph', node)
        found = {
            ('topic', 'publish'): graph.get_publisher_names_and_types_by_node(NODE, '/'),
            ('topic', 'subscribe'): graph.get_subscriber_names_and_types_by_node(NODE, '/'),
            ('service', 'reply'): graph.get_service_names_and_types_by_node(NODE, '/')}
        for (kind, access), entries in found.items():
            names = {name for name, _ in entries}
            policy = allowed_names('/vla', kind, access)
            assert names <= policy, f'{access} not allowed: {names - policy}'
            # Some depend on the distribution, and on whether the messages are built.
            optional = {'/vla/action', '/vla/status', '/parameter_events', '/clock',
                        f'/{NODE}/get_type_description', f'/{NODE}/start_task',
                        f'/{NODE}/cancel_task',
                        *(f'/run_task/_action/{name}' for _, names in ACTIONS.values()
                          for name in names)}
            assert policy - names <= optional, f'{access} needlessly allowed: {policy - names}'


def test_each_enclave_has_only_its_own_permissions():
    assert '/vla/instruction' in allowed_names('/operator', 'topic', 'publish')
    assert '/vla/instruction' not in allowed_names('/camera', 'topic', 'publish')
    assert '/arm/joint_command' in allowed_names('/arm', 'topic', 'subscribe')
    assert '/arm/joint_command' not in allowed_names('/operator', 'topic', 'publish')
    called = allowed_names('/operator', 'service', 'request')
    assert called <= allowed_names('/vla', 'service', 'reply')
    assert '/camera/image_raw' not in allowed_names('/operator', 'topic', 'subscribe')


def missing_dependencies():
    """Return the dependencies of DDS Security that this installation lacks."""
    missing = []
    if shutil.which('ros2') is None:
        missing.append('the command ros2 security (package sros2 of a ROS 2 installation)')
    if importlib.util.find_spec('cryptography') is None:
        missing.append('the Python package cryptography, which sros2 makes keys with')
    libraries = {line.split()[-1] for line in Path('/proc/self/maps').read_text().splitlines()
                 if 'libfastdds' in line}
    for library in sorted(libraries):
        # The name under which the plugin of authentication registers.
        if b'DDS:Auth:PKI-DH' not in Path(library).read_bytes():
            missing.append(f'DDS Security in {library}, which was built with SECURITY=OFF')
    return missing


@pytest.fixture
def keystore(tmp_path):
    """Generate the keys of the policy."""
    rclpy.init(context=(context := Context()))  # the middleware is loaded by that
    context.try_shutdown()
    missing = missing_dependencies()
    if missing:
        pytest.skip('missing here: ' + '; '.join(missing))
    for arguments in (['create_keystore', 'keys'],
                      ['generate_artifacts', '-k', 'keys', '-p', str(POLICIES)]):
        done = subprocess.run(['ros2', 'security', *arguments], cwd=tmp_path, text=True,
                              capture_output=True, check=False)
        if done.returncode or 'Error' in done.stderr.splitlines()[-1:]:
            pytest.skip(f'ros2 security does not work here: {done.stderr.splitlines()[-1:]}')
    return tmp_path / 'keys'


def test_an_enclave_without_permission_can_neither_publish_nor_subscribe(keystore):
    """This needs a middleware with DDS Security."""
    environment = {**os.environ, 'ROS_SECURITY_KEYSTORE': str(keystore),
                   'ROS_SECURITY_ENABLE': 'true', 'ROS_SECURITY_STRATEGY': 'Enforce',
                   'ROS_DOMAIN_ID': str(next_domain())}
    done = subprocess.run([sys.executable, '-c', INTRUDER], env=environment, text=True,
                          capture_output=True, timeout=60, check=False)
    if "doesn't have the security libraries" in done.stderr:
        pytest.skip('this build of the middleware has no DDS Security')
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('refused') == 2
