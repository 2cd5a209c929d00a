# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node with a server of openpi's protocol: invalid and late replies move nothing."""

import threading

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from node_harness import camera_image  # noqa: E402, I100
from node_harness import running_node  # noqa: E402
from openpi_harness import openpi_server  # noqa: E402
from openpi_harness import pack  # noqa: E402

KEYS = """
images: [[images, main]]
prompt: prompt
actions: {key: actions, steps: 2, dimensions: 7}
dataset: some_arm
"""
GOOD = np.full((2, 7), 0.25)
INVALID_REPLIES = {
    'not finite': pack({'actions': np.full((2, 7), np.nan)}),
    'got shape (3, 7)': pack({'actions': np.zeros((3, 7))}),
    'message too big': pack({'actions': np.zeros((100_000, 7))}),
    'got bool': pack({'actions': np.ones((2, 7), bool)}),
    'it is missing': pack({}),
    'not msgpack': b'\xc1',
    'the server reports: ValueError: no': 'Traceback\nValueError: no',
}


def test_invalid_or_late_replies_hold_the_arm_until_a_valid_one(tmp_path):
    file = tmp_path / 'keys.yaml'
    file.write_text(KEYS)
    reply = pack({'actions': GOOD})
    end = threading.Event()

    def send(connection, seen):
        if reply is None:
            end.wait(60)
        else:
            connection.send(reply)

    with openpi_server(send) as (url, server):
        settings = {'policy': 'remote', 'protocol': 'openpi', 'keys_file': str(file), 'url': url,
                    'deadline': '1.0', 'instruction': 'go', 'status__period': '0.1',
                    'image__timeout': '20.0'}
        with running_node('real', **settings) as (node, observer):
            observer.node.create_timer(0.1, lambda: observer.show(camera_image(9)))
            observer.wait(lambda: observer.commands, 'a command', node)
            assert list(observer.commands[-1].position) == GOOD[0].tolist()
            assert server.seen[-1]['prompt'] == 'go'
            assert server.seen[-1]['images']['main'].shape == (8, 8, 3)
            for problem, invalid in [*INVALID_REPLIES.items(), ('no reply within 1 s', None)]:
                reply = invalid
                observer.wait_for_state('HOLD', node, problem)
                commands, requests = len(observer.commands), len(server.seen)
                if invalid is not None:
                    observer.poll(lambda: len(server.seen) > requests + 3, 'further tries', node)
                assert len(observer.commands) == commands, problem
                end.set()
                reply = pack({'actions': GOOD})
                observer.wait_for_state('RUNNING', node)
            assert all(list(command.position) == GOOD[0].tolist() for command in observer.commands)
