# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node with LeRobot's server: whatever it lies about, and while it stalls, nothing moves."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from lerobot_harness import ACTION  # noqa: E402, I100
from lerobot_harness import action  # noqa: E402
from lerobot_harness import CONVENTION  # noqa: E402
from lerobot_harness import error  # noqa: E402
from lerobot_harness import FRONT  # noqa: E402
from lerobot_harness import lerobot_server  # noqa: E402
from lerobot_harness import tensor  # noqa: E402
from node_harness import camera_image  # noqa: E402
from node_harness import running_node  # noqa: E402

KEYS = f"""
images: [observation.images.front]
prompt: task
actions: {{key: action, steps: 50, dimensions: 6}}
lerobot:
  semantics: {CONVENTION}
  features:
    observation.images.front: {{semantics: {FRONT['semantics']}}}
    action: {{semantics: {ACTION['semantics']}, names: {ACTION['names']}}}
dataset: some_arm
"""
CAPABILITIES = {'features': [{**FRONT, 'shape': [8, 8, 3]}]}
LIES = {
    'a number is not finite': lambda request: action(
        request, tensor(np.full((50, 6), np.nan, np.float32))),
    'got shape (49, 6)': lambda request: action(
        request, tensor(np.zeros((49, 6), np.float32))),
    'more than 1048576': lambda request: action(
        request, tensor(np.zeros((100_000, 6), np.float32))),
    'generation of the reply is 99': lambda request: action(request, changes={'generation': 99}),
    'the server reports: execution: no': lambda request: error(request, 'execution', 'no'),
    'no reply within 1 s': None,
}


def test_invalid_or_late_replies_hold_the_arm_until_a_valid_one(tmp_path):
    file = tmp_path / 'keys.yaml'
    file.write_text(KEYS)
    lie = action

    def send(server, request):
        if lie is not None:
            server.act(lie(request))

    settings = {'policy': 'remote', 'protocol': 'lerobot', 'keys_file': str(file),
                'deadline': '1.0', 'instruction': 'go', 'status__period': '0.1',
                'image__timeout': '20.0'}
    with lerobot_server(send, capabilities=CAPABILITIES) as (url, server):
        with running_node('real', url=url, **settings) as (node, observer):
            observer.node.create_timer(0.1, lambda: observer.show(camera_image(9)))
            observer.wait(lambda: observer.commands, 'a command', node)
            assert list(observer.commands[-1].position) == [90.0] * 6
            assert server.seen[-1]['body']['task'] == 'go'
            for problem, next_lie in LIES.items():
                lie = next_lie
                observer.wait_for_state('HOLD', node, problem)
                commands, asked = len(observer.commands), len(server.seen)
                observer.poll(lambda: len(server.seen) > asked + 1, 'further tries', node)
                assert len(observer.commands) == commands, problem
                lie = action
                observer.wait_for_state('RUNNING', node)
            # A server that dies holds the arm, too, and the same one may come back.
            server.end()
            observer.wait_for_state('HOLD', node)
            commands = len(observer.commands)
            server.start()
            observer.wait_for_state('RUNNING', node)
            observer.wait(lambda: len(observer.commands) > commands, 'a command', node)
            assert all(list(command.position) == [90.0] * 6 for command in observer.commands)
