# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The operator's page with the real node, over DDS."""

from contextlib import contextmanager
import signal
import threading

from arm_harness import assert_held
from arm_harness import robot
from panel_harness import Client
from panel_process import panel_process
import pytest
from std_srvs.srv import Trigger

pytest.importorskip('vla_ros_msgs')


def wait_for_state(viewer, state, reason=''):
    """Wait until the page shows a state of the node."""
    return viewer.wait(lambda message: message['type'] == 'state' and message['status']
                       and message['status']['state'] == state
                       and reason in message['status']['reason'])


def wait_for_service(viewer, *services):
    return viewer.wait(lambda message: set(services) <= set(message.get('services', ())))


@contextmanager
def reading_messages(viewer):
    """Let a viewer read messages, as a browser does; after 2 s of silence it counts as lost."""
    ended = threading.Event()

    def read_messages():
        while not ended.is_set():
            viewer.receive()

    thread = threading.Thread(target=read_messages, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_stop_on_the_page_stops_the_arm_until_it_is_released_and_rearmed():
    with robot() as (arm, _), panel_process(arm.observer.context.get_domain_id()) as port:
        viewer = Client(port)
        wait_for_state(viewer, 'RUNNING')
        state = viewer.wait(lambda message: message.get('joints') and message.get('action')
                            and message['stop']['listeners'])
        assert {joint['name'] for joint in state['joints']} >= set(arm.positions)
        assert state['action']['tokens'] == list(range(31744, 31751))
        assert state['path_problem'] == 'camera.pose is not set' and not state['action']['path']
        image = viewer.wait(lambda message: message['type'] == 'image')
        assert image['camera'] == 'camera/image_raw'
        assert viewer.images[-1][1][:3] == b'\xff\xd8\xff'

        viewer.ask('stop')
        arm.wait_for('ESTOP')
        wait_for_state(viewer, 'ESTOP')
        with arm.observer.changed:
            count = len(arm.commands)
        wait_for_service(viewer, 'hold', 'rearm')
        assert viewer.ask('take') == (True, '')
        done, refusal = viewer.ask('call', service='rearm')
        assert not done and 'still pressed by /vla_panel' in refusal
        assert len(arm.commands) == count, 'a command was sent after the stop'
        # Twice, as each release creates a new publisher.
        for _ in range(2):
            assert viewer.ask('release_stop') == (True, '')
            viewer.wait(lambda message: message.get('stop', {}).get('listeners'))
            arm.observer.poll(lambda: viewer.ask('call', service='rearm')[0], 're-armed',
                              arm.node)
            with reading_messages(viewer):
                arm.wait_for('RUNNING')
                arm.wait_for_motion()
            assert viewer.ask('stop') == (True, '')
            arm.wait_for('ESTOP')
        viewer.close()


def test_the_arm_is_held_when_the_page_in_control_disconnects():
    with robot() as (arm, _), panel_process(arm.observer.context.get_domain_id()) as port:
        viewer = Client(port)
        wait_for_state(viewer, 'RUNNING')
        wait_for_service(viewer, 'hold', 'rearm')
        assert viewer.ask('take') == (True, '')
        assert viewer.ask('instruct', instruction='swing 3') == (True, '')
        viewer.wait(lambda message: message.get('status')
                    and message['status']['instruction'] == 'swing 3')
        with reading_messages(viewer):
            arm.wait_for_motion()
        viewer.cut()
        arm.wait_for('HOLD', 'operator')
        assert_held(arm)
        other = Client(port)
        wait_for_state(other, 'HOLD', 'operator')
        assert other.ask('take') == (True, '')
        assert other.ask('call', service='rearm') == (True, '')
        with reading_messages(other):
            arm.wait_for('RUNNING')
        other.ask('release')
        other.close()


def test_the_arm_is_held_when_vla_panel_ends():
    with robot() as (arm, _):
        with panel_process(arm.observer.context.get_domain_id(), number=signal.SIGTERM) as port:
            viewer = Client(port)
            wait_for_state(viewer, 'RUNNING')
            wait_for_service(viewer, 'hold')
            viewer.ask('take')
        arm.wait_for('HOLD', 'operator')


def test_shadow_and_tasks_are_started_from_the_page():
    with robot() as (arm, _), panel_process(arm.observer.context.get_domain_id()) as port:
        viewer = Client(port)
        wait_for_state(viewer, 'RUNNING')
        wait_for_service(viewer, 'rearm', 'shadow', 'live', 'start_task')
        viewer.ask('take')
        for service, shown in (('shadow', 'SHADOW'), ('live', 'RUNNING')):
            assert viewer.ask('call', service=service) == (True, '')
            wait_for_state(viewer, 'HOLD', '~/shadow was called')
            arm.observer.poll(lambda: viewer.ask('call', service='rearm')[0], 're-armed',
                              arm.node)
            wait_for_state(viewer, shown)
        with reading_messages(viewer):
            arm.wait_for_motion()
        task = {'instruction': 'swing', 'timeout': 2.0, 'success': 'timeout', 'success_name': '',
                'rest_time': 0.0}
        assert viewer.ask('start_task', **task) == (True, '')
        with reading_messages(viewer):
            arm.wait_for_motion()
        state = wait_for_state(viewer, 'HOLD', 'task ended: succeeded')
        assert state['status']['control_mode'] == 'AUTONOMOUS'
        done, refusal = viewer.ask('start_task', **{**task, 'success': 'luck'})
        assert not done and 'luck' in refusal
        viewer.ask('release')
        viewer.close()


def test_a_page_that_was_never_pressed_is_no_required_emergency_stop():
    with robot(safety__require_estop='true') as (arm, _), \
            panel_process(arm.observer.context.get_domain_id()) as port:
        viewer = Client(port)
        wait_for_state(viewer, 'WAITING', 'emergency stop')
        wait_for_service(viewer, 'hold', 'rearm')
        viewer.ask('take')
        assert viewer.ask('release_stop') == (True, ''), 'there is nothing to release'
        viewer.wait(lambda message: message.get('stop', {}).get('listeners'))
        with reading_messages(viewer):
            arm.wait_for('WAITING', 'emergency stop')
        viewer.ask('release')
        viewer.close()


def test_a_service_appears_on_the_page_with_its_server():
    with robot() as (arm, _), panel_process(arm.observer.context.get_domain_id()) as port:
        viewer = Client(port)
        state = wait_for_service(viewer, 'hold')
        assert 'record/start' not in state['services']
        calls = []

        def start(request, response):
            calls.append(request)
            response.success, response.message = False, 'the disk is full'
            return response

        arm.observer.node.create_service(Trigger, '/vla_record/start', start)
        wait_for_service(viewer, 'record/start')
        viewer.ask('take')
        assert viewer.ask('call', service='record/start') == (False, 'the disk is full')
        assert len(calls) == 1
        viewer.ask('release')
        viewer.close()
