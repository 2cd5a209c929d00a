# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The policy of access: complete for the node, and kept by the middleware where it can."""

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

# As the camera: may send images, and tries to give an instruction; as nobody: tries to look.
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


def allowed(enclave, kind, way):
    """Give the names that a policy allows, in full."""
    root = ElementTree.parse(POLICIES).getroot()
    profile = root.find(f"enclaves/enclave[@path='{enclave}']/profiles/profile")
    named = {name.text.replace('~', f'/{NODE}')
             for group in profile.findall(f'{kind}s') if group.get(way) == 'ALLOW'
             for name in group.findall(kind)}
    # As sros2 reads it: an action is two topics and three services.
    side, names = ACTIONS.get((kind, way), ('', ()))
    return named | {f'{action.text}/_action/{name}' for group in profile.findall('actions')
                    if group.get(side) == 'ALLOW' for action in group.findall('action')
                    for name in names}


def test_the_policy_allows_all_that_the_node_does_and_no_more():
    """Compared with what a running node is found to do."""
    with running_node('arm=0.0', robot__file='six_axis_arm', robot__urdf='topic',
                      use_sim_time='true', teleop__enabled='true') as (node, observer):
        observer.wait(lambda: observer.diagnostics, 'a status', node)
        graph = observer.node
        observer.poll(lambda: NODE in graph.get_node_names(), 'the node on the graph', node)
        found = {
            ('topic', 'publish'): graph.get_publisher_names_and_types_by_node(NODE, '/'),
            ('topic', 'subscribe'): graph.get_subscriber_names_and_types_by_node(NODE, '/'),
            ('service', 'reply'): graph.get_service_names_and_types_by_node(NODE, '/')}
        for (kind, way), entries in found.items():
            names = {name for name, _ in entries}
            policy = allowed('/vla', kind, way)
            assert names <= policy, f'{way} not allowed: {names - policy}'
            # Some depend on the distribution, and on whether the messages are built.
            optional = {'/vla/action', '/vla/status', '/parameter_events', '/clock',
                        f'/{NODE}/get_type_description', f'/{NODE}/start_task',
                        f'/{NODE}/cancel_task',
                        *(f'/run_task/_action/{name}' for _, names in ACTIONS.values()
                          for name in names)}
            assert policy - names <= optional, f'{way} needlessly allowed: {policy - names}'


def test_each_viewer_has_its_own_permissions():
    """The ends of each topic fit each other."""
    assert '/vla/instruction' in allowed('/operator', 'topic', 'publish')
    assert '/vla/instruction' not in allowed('/camera', 'topic', 'publish')
    assert '/arm/joint_command' in allowed('/arm', 'topic', 'subscribe')
    assert '/arm/joint_command' not in allowed('/operator', 'topic', 'publish')
    assert allowed('/operator', 'service', 'request') <= allowed('/vla', 'service', 'reply')
    assert '/camera/image_raw' not in allowed('/operator', 'topic', 'subscribe')


def missing_for_security():
    """Name what this installation lacks for DDS Security."""
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
    """Make the keys that the policy asks for."""
    rclpy.init(context=(context := Context()))  # the middleware is loaded by that
    context.try_shutdown()
    missing = missing_for_security()
    if missing:
        pytest.skip('missing here: ' + '; '.join(missing))
    for arguments in (['create_keystore', 'keys'],
                      ['generate_artifacts', '-k', 'keys', '-p', str(POLICIES)]):
        done = subprocess.run(['ros2', 'security', *arguments], cwd=tmp_path, text=True,
                              capture_output=True, check=False)
        if done.returncode or 'Error' in done.stderr.splitlines()[-1:]:
            pytest.skip(f'ros2 security does not work here: {done.stderr.splitlines()[-1:]}')
    return tmp_path / 'keys'


def test_without_a_token_there_is_no_control_and_no_view(keystore):
    """Where the middleware was built with security."""
    environment = {**os.environ, 'ROS_SECURITY_KEYSTORE': str(keystore),
                   'ROS_SECURITY_ENABLE': 'true', 'ROS_SECURITY_STRATEGY': 'Enforce',
                   'ROS_DOMAIN_ID': str(next_domain())}
    done = subprocess.run([sys.executable, '-c', INTRUDER], env=environment, text=True,
                          capture_output=True, timeout=60, check=False)
    if "doesn't have the security libraries" in done.stderr:
        pytest.skip('this build of the middleware has no DDS Security')
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('refused') == 2
