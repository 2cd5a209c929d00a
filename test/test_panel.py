# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The protocol of the operator's page: viewers, control, and lost connections."""

import json
import random
import socket
import threading
from urllib.request import Request
from urllib.request import urlopen

from panel_harness import camera_image
from panel_harness import Client
from panel_harness import DEADLINE
from panel_harness import panel
import pytest
from scripted_robot import ScriptedRobot
from vla_ros.server.panel.control import Control
from vla_ros.server.panel.messages import Message
from vla_ros.server.panel.messages import MessageError
from vla_ros.server.panel.messages import read_message
from vla_ros.server.panel.panel import MAX_VIEWERS
from vla_ros.server.panel.robot import Outcome
from vla_ros.server.panel.robot import TaskRequest
import websockets.exceptions

TASK = ('{"type": "start_task", "instruction": "a", "timeout": %s, "success": "rest", '
        '"success_name": "", "rest_time": 0}')
HANDSHAKE = (b'GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n'
             b'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
             b'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')


def test_every_viewer_gets_states_and_images_while_there_is_one():
    with panel() as (robot, port):
        viewers = [Client(port) for _ in range(3)]
        assert len({viewer.me for viewer in viewers}) == 3
        robot.wait(lambda robot: robot.show is not None)
        robot.show(camera_image(jpeg=b'one'))
        for viewer in viewers:
            seen = viewer.wait(lambda message: message['type'] == 'image')
            assert seen == {'type': 'image', 'camera': 'camera/image_raw', 'width': 4,
                            'height': 3, 'age': 0.1}
            assert viewer.images[0][1] == b'one'
            state = viewer.wait(lambda message: message['type'] == 'state')
            assert state['viewers'] == 3 and state['services'] == ['hold', 'rearm']
            viewer.close()
        robot.wait(lambda robot: robot.show is None)  # without a viewer no images are made


def test_only_one_viewer_is_in_control():
    with panel() as (robot, port):
        first, second = Client(port), Client(port)
        assert first.ask('call', service='rearm') == (False, 'take control first')
        assert first.ask('take') == (True, '')
        assert first.ask('call', service='rearm') == (True, 'rearm')
        for kind, details in (('call', {'service': 'rearm'}), ('release_stop', {}),
                              ('instruct', {'instruction': 'push'}), ('take', {})):
            assert second.ask(kind, **details) == (False, f'{first.me} is in control')
        assert second.wait(lambda message: message.get('control') == first.me)
        assert robot.done == [('call', 'rearm')]
        assert second.ask('take', force=True) == (True, '')
        assert first.ask('instruct', instruction='push')[1] == f'{second.me} is in control'
        assert second.ask('instruct', instruction=' push \n') == (True, '')
        assert second.ask('release') == (True, '')
        assert second.ask('release') == (False, 'you are not in control')
        assert robot.done[1:] == [('instruct', 'push')]
        for viewer in (first, second):
            viewer.close()


def test_rearm_ends_a_hold_and_never_a_shadow():
    with panel(ScriptedRobot()) as (robot, port):
        viewer = Client(port)
        viewer.ask('take')
        for state in ('SHADOW', 'RUNNING', 'WAITING'):
            robot.status.update(state=state)
            done, refusal = viewer.ask('call', service='rearm')
            assert not done and state in refusal
        assert robot.done == []
        robot.status.update(state='HOLD')
        robot.outcomes['rearm'] = Outcome(False, 'pressed')
        for _ in range(2):  # a refused call may be repeated at once
            assert viewer.ask('call', service='rearm') == (False, 'pressed')
        del robot.outcomes['rearm']
        assert viewer.ask('call', service='rearm') == (True, 'rearm')
        # A double click, while the page still shows the state before the first one.
        assert 'just now' in viewer.ask('call', service='rearm')[1]
        assert robot.done == [('call', 'rearm')] * 3
        viewer.close()


def test_a_task_is_started_by_the_viewer_in_control():
    task = {'instruction': ' push ', 'timeout': 20, 'success': 'topic', 'success_name': '/judge',
            'rest_time': 0.5}
    with panel() as (robot, port):
        viewer = Client(port)
        assert viewer.ask('start_task', **task) == (False, 'take control first')
        viewer.ask('take')
        assert 'no service' in viewer.ask('start_task', **task)[1]
        robot.services = ('hold', 'start_task')
        assert viewer.ask('start_task', **task) == (True, 'start_task')
        # A call has no goal, so it starts no task.
        assert 'no service' in viewer.ask('call', service='start_task')[1]
        assert robot.done == [('start_task', TaskRequest('push', 20, 'topic', '/judge', 0.5))]
        viewer.close()


def test_every_viewer_may_stop_and_hold():
    with panel() as (robot, port):
        first, second = Client(port), Client(port)
        first.ask('take')
        assert second.ask('call', service='hold') == (True, 'hold')
        assert second.ask('stop') == (True, '')
        assert robot.done == [('call', 'hold'), ('stop',)]
        first.wait(lambda message: message.get('stop') == {'pressed': True})
        assert first.ask('release_stop') == (True, '')
        with urlopen(Request(f'http://127.0.0.1:{port}/stop', method='POST')) as reply:
            assert json.load(reply) == {'pressed': True}
        assert robot.done[2:] == [('release',), ('stop',)]
        for viewer in (first, second):
            viewer.close()


def test_a_stop_does_not_wait_for_another_command():
    with panel() as (robot, port):
        robot.outcomes['rearm'] = None  # never
        viewer = Client(port)
        viewer.ask('take')
        viewer.send(type='call', service='rearm')
        robot.wait_for('call', 'rearm')
        assert viewer.ask('call', service='rearm') == (
            False, 'the command before this one is not done yet')
        assert viewer.ask('stop') == (True, '')
        # The missing response is reported, too.
        viewer.wait(lambda message: message.get('message') == 'no response for 3 s')
        assert viewer.ask('call', service='fly') == (
            False, "there is no service 'fly' on the graph")
        viewer.close()


@pytest.mark.parametrize('disconnect', ['close', 'cut'])
def test_the_arm_is_held_when_the_viewer_in_control_disconnects(disconnect):
    with panel() as (robot, port):
        other, viewer = Client(port), Client(port)
        viewer.ask('take')
        getattr(viewer, disconnect)()
        robot.wait_for('call', 'hold')
        state = other.wait(lambda message: message['type'] == 'state'
                           and any('is held' in event['text'] for event in message['events']))
        assert state['control'] == ''
        assert other.ask('take') == (True, '')
        assert other.ask('release') == (True, '')
        other.close()
    assert robot.done == [('call', 'hold')], 'a viewer without control leaves silently'


def test_the_arm_is_held_when_the_viewer_in_control_is_silent():
    with panel(lost_after=0.5) as (robot, port):
        other, viewer = Client(port), Client(port)
        viewer.ask('take')
        other.wait(lambda _: ('call', 'hold') in robot.done)
        other.wait(lambda message: message.get('control') == '')
        assert viewer.ask('call', service='rearm')[1] == 'take control first'
        assert viewer.ask('take') == (True, ''), 'a silent viewer may take control again'
        viewer.close()
        other.close()


@pytest.mark.parametrize('outcome', [None, Outcome(False, 'no')])
def test_the_arm_is_stopped_if_hold_fails(outcome):
    with panel() as (robot, port):
        robot.outcomes['hold'] = outcome
        viewer = Client(port)
        viewer.ask('take')
        viewer.cut()
        robot.wait_for('stop')


def test_the_arm_is_held_when_the_server_ends():
    with panel() as (robot, port):
        viewer = Client(port)
        viewer.ask('take')
    assert robot.done == [('call', 'hold')]


def test_a_slow_viewer_skips_images_and_delays_no_other():
    with panel() as (robot, port):
        slow, quick = Client(port, is_attentive=False), Client(port)
        robot.wait(lambda robot: robot.show is not None)
        # Ten times the capacity of the sockets between the two.
        for number in range(100):
            robot.show(camera_image(jpeg=bytes([number]) * 500_000))
            quick.wait(lambda message: message['type'] == 'image')
        assert [jpeg[0] for _, jpeg in quick.images] == list(range(100))
        slow.is_attentive = True
        slow.wait(lambda _: len(slow.images) == 3)
        assert [jpeg[0] for _, jpeg in slow.images] == [0, 1, 99], 'the newest image follows'
        for viewer in (slow, quick):
            viewer.close()


def test_a_viewer_that_never_reads_delays_no_other():
    with panel() as (robot, port):
        dead = socket.create_connection(('127.0.0.1', port))
        dead.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        dead.sendall(HANDSHAKE)
        quick = Client(port)
        quick.wait(lambda message: message.get('viewers') == 2)
        for number in range(20):
            robot.show(camera_image(jpeg=bytes(1_000_000)))
            quick.wait(lambda message: message['type'] == 'image')
        quick.close()
        dead.close()


def test_the_number_of_viewers_is_limited():
    with panel() as (_, port):
        viewers = [Client(port) for _ in range(MAX_VIEWERS)]
        with pytest.raises(websockets.exceptions.InvalidStatus, match='403'):
            Client(port)
        for viewer in viewers:
            viewer.cut()


def test_the_panel_survives_ten_thousand_malformed_frames():
    random.seed(7)
    with panel() as (robot, port):
        steady = Client(port)
        steady.ask('take')
        ends = []

        def send_malformed_frames(count):
            pieces = (*'{}[]":,', 'type', 'take', 'call', 'seen', 'instruct', 'id', 'force', '-1',
                      '1e999', 'null', 'true', '\\ud800', '0' * 5000)
            for number in range(count):
                raw = socket.create_connection(('127.0.0.1', port))
                raw.settimeout(DEADLINE)
                raw.sendall(HANDSHAKE)
                if number % 2:
                    text = ''.join(random.choices(pieces, k=random.randrange(1, 30))).encode()
                    frame = _frame(text)
                else:
                    frame = random.randbytes(random.randrange(2, 60))
                try:
                    raw.sendall(frame * 10)
                    raw.shutdown(socket.SHUT_WR)
                    while raw.recv(65536):
                        pass
                except OSError:
                    pass  # it was closed before all was sent
                raw.close()
            ends.append(count)

        threads = [threading.Thread(target=send_malformed_frames, args=(250,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        steady.wait(lambda _: len(ends) == 4)
        assert steady.ask('call', service='rearm') == (True, 'rearm')
        steady.close()
    assert set(robot.done) <= {('call', 'rearm'), ('call', 'hold')}


def _frame(payload):
    """Return a masked text frame whose mask is zero."""
    size = (bytes([0x80 | len(payload)]) if len(payload) < 126
            else b'\xfe' + len(payload).to_bytes(2, 'big') if len(payload) < 65536
            else b'\xff' + len(payload).to_bytes(8, 'big'))
    return b'\x81' + size + bytes(4) + payload


@pytest.mark.parametrize('data', [
    None, '', '{', '[]', '3', '"stop"', '{}', '{"type": 3}', '{"type": "fly"}',
    '{"type": "stop", "id": "1"}', '{"type": "stop", "id": -1}', '{"type": "stop", "id": true}',
    '{"type": "stop", "more": 1}', '{"type": "take", "force": 1}', '{"type": "call"}',
    '{"type": "call", "service": 3}', '{"type": "release", "force": true}',
    '{"type": "seen"}', '[' * 10000, '{"type": "stop", "id": ' + '9' * 5000 + '}',
    '{"type": "stop", "id": NaN}', '{"type": "start_task", "instruction": "a"}',
    TASK % '"3"', TASK % 'true', TASK % 'null', TASK % ('9' * 400),
    TASK.replace('"rest"', '3') % 3, TASK.replace('"success": ', '"luck": ') % 3])
def test_an_invalid_message_is_refused(data):
    with pytest.raises(MessageError):
        read_message(data)


def test_valid_messages_are_read():
    assert read_message('{"type": "stop"}') == Message('stop')
    assert read_message('{"type": "take", "id": 4, "force": true}') == Message(
        'take', 4, force=True)
    assert read_message('{"type": "instruct", "instruction": " stay "}').text == 'stay'
    assert read_message('{"type": "call", "service": "rearm"}').text == 'rearm'
    assert read_message(TASK % 2.5).task == TaskRequest('a', 2.5, 'rest')


def test_an_invalid_message_ends_the_connection_with_a_reason():
    with panel() as (_, port):
        viewer = Client(port)
        viewer.send(type='instruct', instruction='a\x07')
        with pytest.raises(websockets.exceptions.ConnectionClosedError, match='control character'):
            viewer.wait(lambda _: False)


def test_control_is_lost_by_silence_of_its_holder_only():
    control = Control(2.0)
    assert not control.drop_lost(99.0)
    control.take('a', 0.0)
    control.keep_alive('b', 5.0)
    control.keep_alive('a', 1.5)
    assert not control.drop_lost(3.5)
    assert control.drop_lost(3.6) and control.holder == ''
    assert control.refuse('a') == 'take control first'
