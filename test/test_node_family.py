# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node with real checkpoints of the family: OpenVLA-OFT, adapters, a remote policy."""

from contextlib import contextmanager
import json
import os
from pathlib import Path
import signal
import subprocess
import sys

from goldens import GOLDENS
from goldens import rgb
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
torch = pytest.importorskip('torch')

from node_harness import RELIABLE  # noqa: E402, I100
from node_harness import running_node  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402

try:
    from vla_ros_msgs.msg import VlaAction
except ImportError:
    VlaAction = None

CASES = GOLDENS['oft']['cases']
KEY = 'golden_libero_no_noops'
ACTION_TOKENS = range(31744, 32000)
JOINTS = [f'joint_{letter}' for letter in 'abcdefgh']
WRIST = 'wrist/image_raw'
#: Seconds between two images of each camera.
PERIOD = 0.1
#: Seconds that PyTorch and a checkpoint may take to load where others compute, too.
LOAD_DEADLINE = 120.0
ATOL = 2e-4


class Robot:
    """Publishes the inputs of a golden case repeatedly, except those in ``missing``."""

    def __init__(self, observer, images, proprio=None, joints=False):
        self.missing = set()
        node = observer.node
        topics = ['/camera/image_raw', *([f'/{WRIST}'] if len(images) > 1 else [])]
        self._sources = [(topic, node.create_publisher(Image, topic, RELIABLE), message_of(image))
                         for topic, image in zip(topics, images)]
        if proprio is not None and joints:
            # In another order, and with a further joint.
            state = JointState(name=['other', *JOINTS[::-1]], position=[9.0, *proprio[::-1]])
            publisher = node.create_publisher(JointState, '/joint_states', RELIABLE)
            self._sources.append(('state', publisher, state))
        elif proprio is not None:
            publisher = node.create_publisher(Float64MultiArray, '/robot_state', RELIABLE)
            self._sources.append(('state', publisher, Float64MultiArray(data=proprio)))
        # The main camera last, when the other inputs of its image have been sent.
        self._sources.append(self._sources.pop(0))
        node.create_timer(PERIOD, self._publish)

    def _publish(self):
        for name, publisher, message in self._sources:
            if name not in self.missing:
                publisher.publish(message)


def message_of(image):
    """Return an image message with these pixels, uint8 (H, W, 3)."""
    height, width = image.shape[:2]
    message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    message.data.frombytes(np.ascontiguousarray(image).tobytes())
    return message


@contextmanager
def real_node(**parameters):
    """Run a node with a real policy, and wait until it is loaded or has failed."""
    with running_node('real', **parameters) as (node, observer):
        with observer.changed:
            assert observer.changed.wait_for(
                lambda: observer.diagnostics and observer.diagnostics[-1]['state'] not in (
                    'UNCONFIGURED', 'LOADING'), LOAD_DEADLINE), node.report('it does not load')
        yield node, observer


def listen_for_actions(observer):
    """Return a list that receives every vla/action, or None without that message."""
    if VlaAction is None:
        return None
    actions = []
    observer.listen(VlaAction, '/vla/action', RELIABLE, actions.append)
    return actions


def settings_of(case, **changes):
    """Return the node's parameters for a golden case."""
    settings = {'device': 'cpu', 'unnorm_key': KEY, 'head': case['head'], 'image__timeout': '20.0',
                'instruction': json.dumps(case['instruction']),
                'image__extra_max_age': '20.0', 'proprio__max_age': '20.0'}
    if len(case['images']) > 1:
        settings['image__extra_topics'] = f'[{WRIST}]'
    if case['proprio'] is None:
        settings['use_proprio'] = 'false'
    else:
        settings['proprio__topic'] = 'robot_state'
    return {**settings, **changes}


def check_result(observer, node, actions, case):
    """Compare the first command, and its vla/action, with the golden ones."""
    command = observer.wait(lambda: observer.commands, 'a command', node)[0]
    np.testing.assert_allclose(command.position, case['actions'][0], rtol=0, atol=ATOL)
    if actions is None:
        return
    action = observer.wait(lambda: actions, 'its vla/action', node)[0]
    assert list(action.action_shape) == [8, 7]
    assert action.unnorm_key == KEY
    np.testing.assert_allclose(action.action, np.ravel(case['actions']), rtol=0, atol=ATOL)
    np.testing.assert_allclose(action.normalized_action, np.ravel(case['normalized_actions']),
                               rtol=0, atol=ATOL)
    assert list(action.token_ids) == np.ravel(case.get('token_ids', [])).tolist()


@pytest.mark.parametrize('case', CASES, ids=lambda case: case['name'])
def test_the_node_publishes_the_official_chunk_or_holds_on_an_invalid_token(oft_checkpoint, case):
    tokens = np.ravel(case.get('token_ids', [])).tolist()
    invalid = [position for position, token in enumerate(tokens) if token not in ACTION_TOKENS]
    with real_node(checkpoint=str(oft_checkpoint), **settings_of(case)) \
            as (node, observer):
        actions = listen_for_actions(observer)
        Robot(observer, [rgb(image) for image in case['images']], case['proprio'])
        if invalid:
            observer.wait_for_state('HOLD', node, f'offending positions {invalid}')
            assert not observer.commands and not actions
        else:
            check_result(observer, node, actions, case)
            observer.wait_for_state('RUNNING', node)


def test_a_silent_input_holds_with_its_name_until_it_returns(oft_checkpoint):
    """The inputs are a wrist camera and joint positions."""
    case = CASES[2]
    settings = settings_of(case, proprio__topic='""', proprio__joint_names=json.dumps(JOINTS),
                           image__extra_max_age='1.5', proprio__max_age='1.5',
                           status__period='0.1')
    with real_node(checkpoint=str(oft_checkpoint), **settings) as (node, observer):
        robot = Robot(observer, [rgb(image) for image in case['images']], case['proprio'],
                      joints=True)
        robot.missing = {f'/{WRIST}', 'state'}
        observer.wait_for_state('HOLD', node, f'no image on {WRIST} yet')
        robot.missing = {'state'}
        observer.wait_for_state('HOLD', node, 'joint_states never held joint_a, joint_b')
        assert not observer.commands
        robot.missing = set()
        check_result(observer, node, None, case)
        for name, reason in ((f'/{WRIST}', f'the newest image on {WRIST} came'),
                             ('state', 'the state of the robot on joint_states came')):
            robot.missing = {name}
            observer.wait_for_state('HOLD', node, reason)
            robot.missing = set()
            observer.wait_for_state('RUNNING', node)
        assert any('usually no joint positions' in line for line in node.errors)


@pytest.mark.parametrize('changes, reason', [
    ({'proprio__topic': '""'}, 'it wants the state of the robot, 8 numbers (of libero: position '
     'of the end effector, its rotation as axis-angle, two gripper joints)'),
    ({'action__transforms': '[gripper_invert]', 'datasets_file': '/no/such/file.yaml'},
     '/no/such/file.yaml'),
    ({'policy': 'remote'}, 'url')])
def test_a_mismatch_with_the_checkpoint_is_a_fault_at_configure(oft_checkpoint, changes, reason):
    """The node keeps running in FAULT and names the parameter to set."""
    settings = settings_of(CASES[1], **changes)
    with real_node(checkpoint=str(oft_checkpoint), **settings) as (node, observer):
        observer.wait_for_state('FAULT', node, reason)


@contextmanager
def serving(checkpoint, case):
    """Run vla_serve with a golden checkpoint; yield its process and its address."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'vla_ros.cli.serve', '--checkpoint', str(checkpoint), '--device',
         'cpu', '--port', '0', '--unnorm-key', KEY, '--images', str(len(case['images']))],
        stdout=subprocess.PIPE, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    try:
        line = process.stdout.readline()
        assert 'listening on http://127.0.0.1:' in line
        yield process, f'http://127.0.0.1:{int(line.rsplit(":", 1)[1].split("/")[0])}'
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()


def test_a_remote_policy_gives_the_same_actions_holds_when_late_and_recovers(oft_checkpoint):
    """The server process is stopped during a request, and continues later."""
    case = CASES[2]
    with serving(oft_checkpoint, case) as (server, url):
        settings = settings_of(case, policy='remote', url=url, deadline='3.0', head='auto',
                               status__period='0.1')
        with real_node(**settings) as (node, observer):
            actions = listen_for_actions(observer)
            Robot(observer, [rgb(image) for image in case['images']], case['proprio'])
            check_result(observer, node, actions, case)
            assert 'libtorch' not in Path(f'/proc/{node.pid}/maps').read_text(), 'no GPU, no torch'
            server.send_signal(signal.SIGSTOP)
            observer.wait_for_state('HOLD', node, f'remote policy {url}: no reply within 3 s')
            server.send_signal(signal.SIGCONT)
            observer.wait_for_state('RUNNING', node)


@pytest.mark.parametrize('changes, reason', [
    ({'unnorm_key': 'another'}, f'choose from: {KEY}'),
    ({'image__extra_topics': '[a, b]'}, 'it looks at 2 cameras, the node has 3'),
    ({'adapters': '["a=b"]'}, 'where vla_serve runs')])
def test_a_remote_policy_that_does_not_fit_is_a_fault_at_configure(remote_url, changes, reason):
    settings = settings_of(CASES[2], policy='remote', url=remote_url, **changes)
    with real_node(**settings) as (node, observer):
        observer.wait_for_state('FAULT', node, reason)


@pytest.fixture(scope='module')
def remote_url(oft_checkpoint):
    """Yield the address of one vla_serve for several tests."""
    with serving(oft_checkpoint, CASES[2]) as (_, url):
        yield url


@pytest.fixture(scope='module')
def two_adapters(golden_weights, tmp_path_factory):
    """Write two LoRA adapters of one matrix each, as PEFT does; return NAME=FOLDER."""
    shapes = json.loads((golden_weights / 'config.json').read_text())['text_config']
    hidden = shapes['hidden_size']
    key = 'base_model.model.language_model.model.layers.0.mlp.gate_proj'
    entries = []
    for seed, name in enumerate(('shelf', 'table')):
        folder = tmp_path_factory.mktemp(name)
        generator = torch.Generator().manual_seed(seed)
        save_file({f'{key}.lora_A.weight': torch.randn(4, hidden, generator=generator),
                   f'{key}.lora_B.weight': torch.randn(shapes['intermediate_size'], 4,
                                                       generator=generator)},
                  folder / 'adapter_model.safetensors')
        (folder / 'adapter_config.json').write_text(json.dumps(
            {'peft_type': 'LORA', 'r': 4, 'lora_alpha': 4, 'target_modules': ['gate_proj']}))
        entries.append(f'{name}={folder}')
    return entries


def positions_by_adapter(checkpoint, entries, case):
    """Infer with each adapter and without any in this process; return the first actions."""
    policy = load_policy(PolicyConfig(
        str(checkpoint), unnorm_key=KEY, device='cpu', head=case['head'], use_proprio=False,
        adapters=dict(entry.split('=') for entry in entries)))
    observation = Observation((rgb(case['images'][0]),), case['instruction'])
    positions = {}
    for name in ('shelf', 'table', None):
        policy.select_adapter(name)
        positions[name or 'base'] = policy.infer(observation).actions[0]
    return positions


def test_the_adapter_parameter_switches_the_adapter_of_the_next_inference(
        oft_checkpoint, two_adapters):
    """The diagnostics name the active adapter, and an unknown name changes nothing."""
    case = CASES[0]
    expected = positions_by_adapter(oft_checkpoint, two_adapters, case)
    assert np.abs(expected['shelf'] - expected['table']).max() > 100 * ATOL
    np.testing.assert_allclose(expected['base'], case['actions'][0], rtol=0, atol=ATOL)
    settings = settings_of(case, adapters=json.dumps(two_adapters), adapter='table')
    with real_node(checkpoint=str(oft_checkpoint), **settings) as (node, observer):
        Robot(observer, [rgb(image) for image in case['images']])

        def check_adapter(name):
            observer.wait(lambda: observer.diagnostics
                          and observer.diagnostics[-1]['adapter'] == name, name, node)
            observer.commands.clear()
            command = observer.wait(lambda: observer.commands, 'a command', node)[0]
            np.testing.assert_allclose(command.position, expected[name], rtol=0, atol=ATOL)

        def choose(name):
            request = SetParameters.Request(
                parameters=[Parameter('adapter', value=name).to_parameter_msg()])
            return observer.call(SetParameters, '/vla_inference_node/set_parameters', request,
                                 node).results[0]

        check_adapter('table')
        for name in ('shelf', 'base', 'table'):
            assert choose(name).successful
            check_adapter(name)
        refused = choose('floor')
        assert not refused.successful
        assert 'one of shelf, table, base' in refused.reason
        check_adapter('table')
