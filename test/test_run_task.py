# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The action run_task of a node that moves an arm, called from another process."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import random
import threading
import time

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')
pytest.importorskip('vla_ros_msgs.action', reason='vla_ros_msgs is not built')

from arm_harness import assert_held  # noqa: E402, I100
from arm_harness import NODE  # noqa: E402
from arm_harness import Robot  # noqa: E402
from arm_harness import robot  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from node_harness import DEADLINE  # noqa: E402
from node_harness import RELIABLE  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from task_harness import TaskClient  # noqa: E402
from vla_ros_msgs.srv import StartTask  # noqa: E402

#: Number of goals of the test with stops and cancels; the acceptance test runs 100.
GOALS = int(os.environ.get('VLA_TASK_GOALS', '12'))


@contextmanager
def bench(**parameters: str) -> Iterator[tuple[Robot, TaskClient]]:
    """Run an arm without an instruction, and a client of its tasks."""
    with robot(instruction='""', **parameters) as (arm, _):
        arm.wait_for('WAITING', 'no instruction')
        yield arm, TaskClient(arm.observer, arm.node)


@pytest.fixture(scope='module')
def shared() -> Iterator[tuple[Robot, TaskClient]]:
    with bench() as pair:
        yield pair


@pytest.fixture
def arm(shared: tuple[Robot, TaskClient]) -> Robot:
    return shared[0]


@pytest.fixture
def client(shared: tuple[Robot, TaskClient]) -> TaskClient:
    return shared[1]


def test_a_goal_moves_the_arm_and_its_end_holds_it(arm: Robot, client: TaskClient) -> None:
    client.feedback.clear()
    sent = client.send(timeout=3.0)
    arm.wait_for('RUNNING')
    arm.wait_for_motion()
    status, result = sent.result()
    assert (status, result.outcome) == ('SUCCEEDED', 'succeeded')
    assert result.actions_executed > 0
    assert result.duration >= 3.0
    assert client.feedback[-1].actions_executed > 0 and client.feedback[-1].age > 0.0
    assert {'RUNNING'} <= {feedback.state for feedback in client.feedback}
    arm.wait_for('HOLD', 'task ended: succeeded')
    assert_held(arm)


def test_a_canceled_task_holds_the_arm(arm: Robot, client: TaskClient) -> None:
    sent = client.send()
    arm.wait_for_motion()
    assert sent.cancel()
    status, result = sent.result()
    assert (status, result.outcome) == ('CANCELED', 'canceled')
    arm.wait_for('HOLD', 'task ended: canceled')
    assert_held(arm)
    assert not sent.cancel()


def test_a_newer_goal_preempts_a_task(arm: Robot, client: TaskClient) -> None:
    first = client.send('swing one')
    arm.wait_for('RUNNING')
    second = client.send('swing two')
    status, result = first.result()
    assert (status, result.outcome) == ('ABORTED', 'preempted')
    assert 'swing two' in result.reason
    arm.wait_for_motion()
    assert second.cancel()
    assert second.result()[0] == 'CANCELED'


def test_another_instruction_preempts_a_task(arm: Robot, client: TaskClient) -> None:
    sent = client.send()
    arm.wait_for('RUNNING')
    operator = arm.observer.node.create_publisher(String, '/vla/instruction', RELIABLE)
    arm.observer.wait_for_match(operator, arm.node)
    operator.publish(String(data='wave'))
    status, result = sent.result()
    assert (status, result.outcome) == ('ABORTED', 'preempted')
    assert 'wave' in result.reason
    arm.wait_for('HOLD', 'task ended: preempted')


def test_an_emergency_stop_ends_the_task_and_rearm_does_not_resume_it(arm: Robot,
                                                                      client: TaskClient) -> None:
    sent = client.send()
    arm.wait_for_motion()
    arm.observer.wait_for_match(arm.button, arm.node)
    arm.press()
    status, result = sent.result()
    assert (status, result.outcome) == ('ABORTED', 'stopped')
    assert 'emergency stop' in result.reason
    assert not client.send().handle.accepted
    arm.press(False)
    arm.observer.poll(lambda: arm.call('rearm').success, 'rearm', arm.node)
    arm.wait_for('WAITING', 'no instruction')
    next_goal = client.send()
    arm.wait_for_motion()
    next_goal.cancel()


def test_a_hold_ends_the_task_and_refuses_the_next_until_rearm(arm: Robot,
                                                               client: TaskClient) -> None:
    sent = client.send()
    arm.wait_for('RUNNING')
    arm.call('hold')
    assert sent.result()[1].outcome == 'stopped'
    assert not client.send().handle.accepted
    assert arm.call('rearm').success


def test_true_on_the_success_topic_ends_the_task_with_success(
        arm: Robot, client: TaskClient) -> None:
    judge = arm.observer.node.create_publisher(Bool, '/judge', RELIABLE)
    sent = client.send(success='topic', success_name='judge')
    arm.observer.wait_for_match(judge, arm.node)
    judge.publish(Bool(data=False))
    arm.wait_for_motion()
    assert not sent.results
    judge.publish(Bool(data=True))
    status, result = sent.result()
    assert (status, result.outcome, result.reason) == ('SUCCEEDED', 'succeeded', 'true on judge')
    arm.observer.poll(lambda: judge.get_subscription_count() == 0, 'no listener', arm.node)


def test_the_success_of_a_service_ends_the_task_with_success(
        arm: Robot, client: TaskClient) -> None:
    calls: list[int] = []

    def judge(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        calls.append(1)
        response.success, response.message = len(calls) > 2, 'the cup is up'
        return response

    service = arm.observer.node.create_service(Trigger, '/judge_service', judge)
    status, result = client.send(success='service', success_name='/judge_service').result()
    arm.observer.node.destroy_service(service)
    assert (status, result.reason) == ('SUCCEEDED', '/judge_service: the cup is up')
    assert len(calls) >= 3


def test_an_arm_at_rest_ends_the_task_with_success(arm: Robot, client: TaskClient) -> None:
    sent = client.send(success='rest', rest_time=2.0)
    arm.wait_for_motion()
    arm.is_stuck = True
    try:
        status, result = sent.result()
    finally:
        arm.is_stuck = False
    assert (status, result.outcome) == ('SUCCEEDED', 'succeeded')
    assert 'rested' in result.reason


@pytest.mark.parametrize('goal', [
    {'instruction': ''}, {'timeout': 0.0}, {'success': 'luck'}, {'success': 'topic'},
    {'success': 'topic', 'success_name': 'no name'}, {'success_name': 'judge'}])
def test_an_invalid_goal_is_refused(client: TaskClient, goal: dict) -> None:
    assert not client.send(**goal).handle.accepted


def test_services_start_and_cancel_a_task(arm: Robot) -> None:
    request = StartTask.Request(instruction='swing', timeout=30.0, success='timeout')
    name = f'{NODE}/start_task'
    assert arm.observer.call(StartTask, name, request, arm.node).success
    arm.wait_for_motion()
    assert arm.call('cancel_task').success
    arm.wait_for('HOLD', 'canceled: ~/cancel_task')
    refused = arm.call('cancel_task')
    assert (refused.success, refused.message) == (False, 'no task runs')
    request.success = 'luck'
    refused = arm.observer.call(StartTask, name, request, arm.node)
    assert not refused.success and 'luck' in refused.message


def test_goals_with_stops_and_cancels_at_random_moments_have_one_result(
        arm: Robot, client: TaskClient) -> None:
    rng, sent = random.Random(0), []
    pause = threading.Event()
    while len(sent) < GOALS:
        goal = client.send(timeout=rng.uniform(0.1, 2.0))
        if not goal.handle.accepted:  # stopped, and not yet re-armed
            arm.press(False)
            arm.call('rearm')
            continue
        sent.append(goal)
        pause.wait(rng.uniform(0.0, 0.5))
        rng.choice([goal.cancel, arm.press, lambda: arm.call('hold'), lambda: None,
                    lambda: arm.call('cancel_task'), lambda: arm.call('rearm')])()
    outcomes = [goal.result()[1].outcome for goal in sent]
    assert all(outcomes), outcomes
    # Each goal has exactly one result.
    assert [len(goal.results) for goal in sent] == [1] * GOALS
    arm.press(False)
    arm.observer.poll(lambda: arm.call('rearm').success, 'rearm', arm.node)


def test_deactivation_ends_the_task_and_the_result_names_the_black_box(tmp_path: Path) -> None:
    with bench(black_box__folder=str(tmp_path)) as (arm, client):
        first = client.send()
        arm.wait_for_motion()
        first.cancel()
        file = first.result()[1].black_box_file
        assert Path(file).is_file() and Path(file).parent == tmp_path
        sent = client.send()
        arm.wait_for('RUNNING')
        request = ChangeState.Request()
        request.transition.id = Transition.TRANSITION_DEACTIVATE
        assert arm.observer.call(ChangeState, f'{NODE}/change_state', request, arm.node).success
        status, result = sent.result()
        assert (status, result.outcome) == ('ABORTED', 'failed')
        assert not client.send().handle.accepted


def test_a_node_with_a_running_task_ends_within_the_deadline() -> None:
    with bench() as (arm, client):
        client.send()
        arm.wait_for('RUNNING')
        start = time.monotonic()
        arm.node.end()
        assert time.monotonic() - start < DEADLINE
