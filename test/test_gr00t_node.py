# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node with a GR00T server: invalid and late replies move nothing."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from gr00t_harness import chunk  # noqa: E402, I100
from gr00t_harness import gr00t_server  # noqa: E402
from gr00t_harness import MODALITIES  # noqa: E402
from gr00t_harness import pack  # noqa: E402
from node_harness import camera_image  # noqa: E402
from node_harness import running_node  # noqa: E402

KEYS = """
images: [front]
prompt: annotation.human.task_description
actions: {parts: [{key: single_arm, length: 5}, {key: gripper, length: 1}], steps: 16}
dataset: some_arm
"""
NO_STATE = {**MODALITIES, 'video': {'modality_keys': ['front'], 'delta_indices': [0]},
            'state': {'modality_keys': [], 'delta_indices': [0]}}
INVALID_REPLIES = {
    'not finite': pack(chunk(arm=np.nan)), 'got shape (15, 5)': pack(chunk(steps=15)),
    'the server reports: no': pack({'error': 'no'}), 'no reply within 1 s': None}


def test_invalid_or_late_replies_hold_the_arm_until_a_valid_one(tmp_path):
    file = tmp_path / 'keys.yaml'
    file.write_text(KEYS)
    reply = pack(chunk())

    def send(send_reply, seen):
        if reply is not None:
            send_reply(reply)

    with gr00t_server(send, NO_STATE) as (url, server):
        settings = {'policy': 'remote', 'protocol': 'gr00t', 'keys_file': str(file), 'url': url,
                    'deadline': '1.0', 'instruction': 'go', 'status__period': '0.1',
                    'image__timeout': '20.0'}
        with running_node('real', **settings) as (node, observer):
            observer.node.create_timer(0.1, lambda: observer.show(camera_image(9)))
            observer.wait(lambda: observer.commands, 'a command', node)
            assert list(observer.commands[-1].position) == [0.5] * 5 + [0.25]
            for problem, invalid in INVALID_REPLIES.items():
                reply = invalid
                observer.wait_for_state('HOLD', node, problem)
                commands, requests = len(observer.commands), len(server.seen)
                observer.poll(lambda: len(server.seen) > requests + 1, 'further tries', node)
                assert len(observer.commands) == commands, problem
                reply = pack(chunk())
                observer.wait_for_state('RUNNING', node)
            assert all(list(command.position) == [0.5] * 5 + [0.25]
                       for command in observer.commands)
