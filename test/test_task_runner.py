# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A task ends exactly once, with a reason, and the arm is held."""

from dataclasses import replace
import threading

import pytest

from vla_ros.control import task_runner
from vla_ros.control.command_gate import CommandGate
from vla_ros.control.task import Outcome
from vla_ros.control.task import TaskGoal
from vla_ros.control.task_runner import TaskRefused
from vla_ros.control.task_runner import TaskRunner
from vla_ros.errors import ParameterError
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason
from vla_ros.safety.state_machine import Event
from vla_ros.safety.state_machine import Mode

GOAL = TaskGoal('pick up the cup', 10.0, 'timeout')


class Bench:
    """A task runner, its command gate, and a clock."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        self.actions = 0
        self.gate = CommandGate('')
        for event in (Event.CONFIGURE, Event.LOADED, Event.ACTIVATE):
            self.gate.handle(event)
        monkeypatch.setattr(task_runner.time, 'monotonic', lambda: self.now)
        self.runner = TaskRunner(self.gate, lambda: round(self.now * 1e9), lambda: self.actions,
                                 lambda: None)

    def act(self):
        """Execute an action."""
        assert self.gate.send(self.gate.context, lambda: None)
        self.actions += 1

    def wait(self, seconds, *positions):
        """Let time pass with measured joints, and watch the task."""
        for step in range(round(seconds * 10)):
            self.now += 0.1
            if positions:
                self.runner.joints('ab', [value * (step + 1) for value in positions])
            self.runner.watch()

    def is_held(self):
        state = self.gate.context.state
        return state.mode is Mode.HOLD and state.reason is Reason.TASK_ENDED


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


def test_a_task_ends_at_its_timeout_and_holds_the_arm(bench):
    task = bench.runner.start(GOAL)
    assert bench.gate.context.instruction == 'pick up the cup'
    bench.act()
    bench.wait(9.8)
    assert not task.ended.is_set() and bench.gate.context.state.mode is Mode.RUNNING
    bench.wait(0.3)
    assert task.ended.is_set() and bench.is_held()
    assert (task.result.outcome, task.result.actions) == (Outcome.SUCCEEDED, 1)
    assert task.result.duration == pytest.approx(10.0, abs=0.15)
    assert task.result.ended - task.result.started == pytest.approx(1e10, abs=2e8)


def test_rearm_does_not_resume_an_ended_task(bench):
    bench.runner.start(GOAL)
    bench.runner.end(Outcome.CANCELED, 'enough')
    assert bench.gate.context.instruction == ''
    assert not bench.gate.rearm()
    assert bench.gate.context.state.mode is Mode.WAITING and not bench.gate.context.is_open


@pytest.mark.parametrize('condition', ['topic', 'service'])
def test_success_by_topic_or_service_ends_the_task(bench, condition):
    task = bench.runner.start(replace(GOAL, condition=condition, name='done'))
    bench.wait(5.0)
    assert not task.ended.is_set()
    task.succeed('true on done')
    bench.wait(0.1)
    assert (task.result.outcome, task.result.reason) == (Outcome.SUCCEEDED, 'true on done')
    assert bench.is_held()


def test_a_condition_that_is_not_met_in_time_is_a_timeout(bench):
    task = bench.runner.start(replace(GOAL, condition='topic', name='done'))
    bench.wait(10.2)
    assert task.result.outcome is Outcome.TIMED_OUT


def test_an_arm_at_rest_after_a_command_succeeds(bench):
    bench.runner.joints('ab', [0.0, 0.0])
    task = bench.runner.start(replace(GOAL, condition='rest', rest_time=1.0))
    bench.wait(3.0, 0.0)
    assert not task.ended.is_set(), 'no command was sent yet'
    bench.act()
    bench.wait(3.0, 0.02)
    assert not task.ended.is_set(), 'it moves'
    bench.wait(0.8, 0.0, 0.0003)
    assert not task.ended.is_set(), 'not long enough'
    bench.wait(0.5, 0.0, 0.0003)
    assert task.result.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize('reason', [Reason.STALE_IMAGE, Reason.LIMIT, Reason.UNREACHABLE])
def test_rest_during_a_hold_is_no_success(bench, reason):
    bench.runner.joints('ab', [0.0, 0.0])
    task = bench.runner.start(replace(GOAL, condition='rest', rest_time=1.0))
    bench.act()
    bench.wait(0.5, 0.02)
    bench.gate.problem(Hold(reason, 'for a while'))
    bench.wait(3.0, 0.0)
    assert not task.ended.is_set(), 'a hold is no rest'
    bench.act()
    bench.wait(0.8, 0.0)
    assert not task.ended.is_set(), 'rest before the hold does not count'
    bench.wait(0.4, 0.0)
    assert task.result.outcome is Outcome.SUCCEEDED


def test_success_by_rest_is_refused_in_shadow():
    gate = CommandGate('', dry_start=True)
    for event in (Event.CONFIGURE, Event.LOADED, Event.ACTIVATE):
        gate.handle(event)
    runner = TaskRunner(gate, lambda: 0, lambda: 0, lambda: None)
    runner.joints('ab', [0.0, 0.0])
    goal = replace(GOAL, condition='rest', rest_time=1.0)
    with pytest.raises(TaskRefused, match='shadow'):
        runner.start(goal)
    assert not gate.rearm()
    runner.start(goal)


def test_success_by_rest_needs_measured_joints(bench):
    goal = replace(GOAL, condition='rest')
    with pytest.raises(TaskRefused, match='joint_states'):
        bench.runner.start(goal)
    bench.runner.joints('ab', [0.0, 0.0])
    task = bench.runner.start(goal)
    bench.act()
    bench.wait(9.0)
    assert not task.ended.is_set()
    bench.wait(1.2)
    assert task.result.outcome is Outcome.TIMED_OUT


def stop(bench):
    bench.gate.handle(Event.ESTOP_PRESSED)


def hold(bench):
    bench.gate.problem(Hold(Reason.OPERATOR, '~/hold was called'))


def deactivate(bench):
    bench.gate.handle(Event.DEACTIVATE)


def hang(bench):
    bench.gate.handle(Event.HANG, 'no result for 9 s')


def instruct(bench):
    bench.gate.instruct('wave')


@pytest.mark.parametrize(('event', 'outcome', 'text'), [
    (stop, Outcome.STOPPED, 'emergency stop'), (hold, Outcome.STOPPED, 'operator'),
    (deactivate, Outcome.FAILED, 'not active'), (hang, Outcome.FAILED, 'hangs'),
    (instruct, Outcome.PREEMPTED, 'wave')])
def test_a_stop_hold_fault_or_new_instruction_ends_a_task(bench, event, outcome, text):
    task = bench.runner.start(GOAL)
    bench.act()
    event(bench)
    bench.runner.watch()
    assert task.result.outcome is outcome
    assert text in task.result.reason
    assert not bench.gate.context.is_open


def test_an_automatic_hold_does_not_end_a_task(bench):
    task = bench.runner.start(GOAL)
    bench.act()
    bench.gate.problem(Hold(Reason.STALE_IMAGE, 'too old'))
    bench.wait(1.0)
    bench.act()
    assert not task.ended.is_set()


def test_a_newer_task_preempts_the_running_one_with_its_own_instruction(bench):
    first = bench.runner.start(GOAL)
    seen = []
    end = first.end
    first.end = lambda result: (seen.append(bench.is_held()), end(result))
    second = bench.runner.start(replace(GOAL, instruction='wave'))
    assert seen == [True], 'the arm is held between the two'
    assert first.result.outcome is Outcome.PREEMPTED
    assert bench.gate.context.instruction == 'wave' and bench.gate.context.is_open
    assert not bench.runner.end(Outcome.CANCELED, 'late', first)
    bench.runner.watch()
    assert not second.ended.is_set()


@pytest.mark.parametrize(('event', 'text'), [
    (stop, 'emergency stop'), (hold, 'operator'), (deactivate, 'not active'), (hang, 'hangs')])
def test_a_task_is_refused_while_nothing_may_move(bench, event, text):
    event(bench)
    with pytest.raises(TaskRefused, match=text):
        bench.runner.start(GOAL)
    assert bench.gate.context.instruction == ''


@pytest.mark.parametrize('event', [stop, hold])
def test_a_new_task_does_not_end_a_hold_for_the_operator(bench, event):
    bench.runner.start(GOAL)
    bench.runner.end(Outcome.CANCELED, 'enough')
    event(bench)  # while the end of a task holds the arm
    with pytest.raises(TaskRefused):
        bench.runner.start(GOAL)
    bench.gate.handle(Event.ESTOP_RELEASED)
    assert not bench.gate.rearm()
    bench.runner.start(GOAL)


def test_closing_the_runner_fails_its_task_and_refuses_others(bench):
    task = bench.runner.start(GOAL)
    bench.runner.close()
    assert task.result.outcome is Outcome.FAILED
    with pytest.raises(TaskRefused, match='ends'):
        bench.runner.start(GOAL)


def test_each_task_has_one_result_when_threads_start_and_cancel_concurrently(bench):
    tasks, ends = [], []

    def work(number):
        for _ in range(50):
            task = bench.runner.start(replace(GOAL, instruction=f'task {number}'))
            end = task.end
            task.end = lambda result, task=task, end=end: (ends.append(task), end(result))
            tasks.append(task)
            bench.runner.end(Outcome.CANCELED, 'enough', task)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tasks) == 200 and all(task.ended.is_set() for task in tasks)
    assert len(set(map(id, ends))) == len(ends)


@pytest.mark.parametrize(('field', 'value'), [
    ('instruction', ' '), ('instruction', 'a\x00b'), ('timeout', 0.0), ('timeout', float('nan')),
    ('timeout', float('inf')), ('condition', 'soon'), ('condition', 'topic'), ('name', 'done'),
    ('rest_time', -1.0), ('rest_time', float('nan')), ('rest_time', 10.0)])
def test_an_invalid_goal_is_refused(field, value):
    with pytest.raises(ParameterError):
        replace(GOAL, **{field: value})
