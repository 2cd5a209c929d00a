# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""An invalid instruction is refused in one short line, wherever it comes from."""

import json
import os
import subprocess
import sys

from domains import next_domain
import numpy as np
import pytest
from vla_ros.cli import predict
from vla_ros.control.parameters import NodeConfig
from vla_ros.data.instructions import check_instruction
from vla_ros.data.instructions import InstructionError
from vla_ros.data.instructions import LONGEST_INSTRUCTION
from vla_ros.data.prompts import build_prompt
from vla_ros.errors import VlaError
from vla_ros.policy.base import Observation
from vla_ros.server.rest import _read_observation
from vla_ros.server.rest import _status

INVALID = [
    (os.fsdecode(b'pick \xff up'), 'character 6 of 9 is U.DCFF, .* valid Unicode'),
    (json.loads(r'"\ud83d"'), r'U\+D83D, .* valid Unicode'),
    ('pick \ufffd', r'U\+FFFD, .* valid Unicode'),
    ('pick\0up', r'U\+0000, a control character'),
    ('pick\x1b[2J', r'U\+001B, a control character'),
    ('pick\x85', r'U\+0085, a control character'),
    ('x' * 1_000_000, f'got 1000000 characters, it must be at most {LONGEST_INSTRUCTION}'),
    (None, 'got NoneType, it must be text'),
    (b'pick', 'got bytes, it must be text')]


@pytest.mark.parametrize('text, message', INVALID)
def test_an_invalid_instruction_is_refused_in_a_short_line(text, message):
    with pytest.raises(InstructionError, match=message) as error:
        check_instruction(text)
    assert len(str(error.value)) < 200
    str(error.value).encode()
    for use in (lambda: Observation((np.zeros((1, 1, 3), np.uint8),), text),
                lambda: build_prompt('openvla', text)):
        with pytest.raises(InstructionError):
            use()


@pytest.mark.parametrize('text', [
    '', 'pick up the cup', 'In: what?\nOut:', 'a\tb\r\n', 'nimm die Tasse – 杯子 🤖',
    '{a: b}', '- pick', 'x' * LONGEST_INSTRUCTION])
def test_text_of_any_language_is_a_valid_instruction(text):
    assert check_instruction(text) is text


@pytest.mark.parametrize('text, message', INVALID[:6])
def test_the_node_does_not_start_with_an_invalid_instruction(text, message):
    with pytest.raises(VlaError, match=message):
        NodeConfig(checkpoint='x', instruction=text)


@pytest.mark.parametrize('text, message', INVALID[:6])
def test_a_request_with_an_invalid_instruction_gets_status_400(text, message):
    image = np.zeros((1, 1, 3), np.uint8)
    with pytest.raises(InstructionError, match=message) as error:
        _read_observation({'images': [image], 'instruction': text})
    assert _status(error.value) == 400


@pytest.mark.parametrize('text, message', INVALID[:6])
def test_predict_reports_an_invalid_instruction_before_loading(capsys, text, message):
    assert predict.main(['--checkpoint', '/none', '--image', '/none.png',
                         '--instruction', text]) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and err.startswith('vla_predict: --instruction: ')


def test_invalid_utf8_on_the_nodes_command_line_is_one_line():
    pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
    done = subprocess.run(
        [sys.executable, '-m', 'vla_ros.ros.main', '--ros-args', '-p', b'instruction:=a\xff'],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, 'ROS_DOMAIN_ID': str(next_domain())})
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert 'not valid UTF-8' in done.stderr.splitlines()[-1]


def test_an_invalid_instruction_on_the_topic_clears_the_current_one():
    pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
    from node_harness import running_node
    from std_msgs.msg import String
    with running_node(instruction='go') as (node, observer):
        sender = observer.node.create_publisher(String, '/vla/instruction', 1)
        observer.wait_for_match(sender, node)
        observer.wait_for_state('WAITING', node, 'no image')
        sender.publish(String(data='x' * 1_000_000))
        observer.wait_for_state('WAITING', node, 'no instruction')
        sender.publish(String(data='{a: b}'))
        observer.wait_for_state('WAITING', node, 'no image')
