# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From frames to commands, without ROS: a shell that only keeps what it is told to publish."""

from dataclasses import replace
import math
import queue
import threading
import time

import numpy as np
import pytest

from vla_ros.errors import Cancelled
from vla_ros.errors import CheckpointError
from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.inference import Inference
from vla_ros.parameters import NodeConfig
from vla_ros.policy import ActionChunk
from vla_ros.policy import PolicySpec
from vla_ros.safety.state_machine import Reason
from vla_ros.status import StatusBoard

DEADLINE = 20.0
SPEC = PolicySpec('fake', 'key', (2, 2), 1, 0, 'cpu', 'float32', 'sdpa', 'best here', 'none')


class Shell:
    """Takes the place of ROS; images are plain arrays."""

    def __init__(self):
        self.answers = queue.Queue()
        self.statuses = queue.Queue()

    def now(self):
        return time.monotonic_ns()

    def read_button(self):
        return None

    def motion_time(self):
        return time.monotonic()

    def is_simulated(self):
        return False

    def stamp_of(self, image):
        return 0

    def read_image(self, image):
        return image

    def view_image(self, image):
        return image if len(image) == 2 else None

    def publish_answer(self, answer):
        self.answers.put(answer)
        return 0.25

    def publish_hold(self, command, is_shadow):
        pass

    def publish_status(self, status):
        self.statuses.put(status)

    def wait_for_state(self, state):
        """Give the first status of this state."""
        while True:
            status = self.statuses.get(timeout=DEADLINE)
            if status.state == state:
                return status


class Policy:
    """Answers with the first pixel, twice as much in the second action; counts its resets."""

    def __init__(self, spec=SPEC):
        self.spec = spec
        self.resets = 0

    def infer(self, observation):
        first = float(observation.images[0].flat[0])
        actions = np.array([[first, first], [2 * first, 2 * first]])
        return ActionChunk(actions, actions, (), (), np.zeros(0, np.float32),
                           observation.instruction, (), {})

    def reset(self):
        self.resets += 1


def picture(level):
    """Give a small image of one grey level."""
    return np.full((2, 2, 3), level, np.uint8)


def make(policy, **config):
    """Give an inference with this policy, and its shell."""
    shell = Shell()
    board = StatusBoard('/camera', '/instruction', image_timeout=60.0)
    config = NodeConfig(**{'checkpoint': 'fake', 'instruction': 'task 1', **config})
    return Inference(config, shell, board, lambda policy_config: policy), shell


def test_the_first_action_of_a_chunk_is_sent():
    """With everything that it was computed from."""
    inference, shell = make(Policy())
    assert inference.configure() == SPEC
    inference.activate()
    inference.frame(picture(3))
    answer = shell.answers.get(timeout=DEADLINE)
    assert answer.command.positions == (3.0, 3.0)
    assert answer.frame.received <= answer.started <= answer.ended
    assert (answer.order.instruction, answer.unnorm_key) == ('task 1', 'key')
    assert shell.wait_for_state('RUNNING').progress.last_age == 0.25
    assert inference.stop(DEADLINE)


def test_a_frame_is_sent_to_the_device_while_the_one_before_is_answered():
    """From the camera's thread; one that must be decoded first is left to the worker."""
    policy, staged, answered = Policy(), queue.Queue(), queue.Queue()
    release = threading.Event()

    def infer(observation):
        answered.put(observation.staged)
        assert release.wait(DEADLINE)
        return Policy.infer(policy, observation)

    policy.infer = infer
    policy.stage = lambda image: staged.put(int(image[0, 0, 0])) or f'staged {image[0, 0, 0]}'
    inference, shell = make(policy)
    inference.configure()
    inference.activate()
    inference.frame(picture(3))
    assert answered.get(timeout=DEADLINE) == 'staged 3'
    inference.frame(picture(4))
    assert [staged.get(timeout=DEADLINE) for _ in range(2)] == [3, 4]
    release.set()
    assert answered.get(timeout=DEADLINE) == 'staged 4'
    inference.frame(picture(5)[:1])
    assert answered.get(timeout=DEADLINE) is None
    assert inference.stop(DEADLINE)
    assert staged.empty()


def test_a_clock_that_jumped_is_the_reason_even_if_its_image_was_found_stale_first():
    inference, shell = make(Policy(), max_age=0.5, action_space='joint_position',
                            joint_names=('a', 'b'))
    inference.configure()
    inference.activate()
    inference.tick()
    inference.hold(Reason.STALE_IMAGE, 'it was 50 s old')
    shell.wait_for_state('HOLD')
    shell.now = lambda: time.monotonic_ns() - 50_000_000_000
    inference.tick()
    assert shell.wait_for_state('HOLD').reason.startswith('clock jumped: the clock went back by')
    assert inference.stop(DEADLINE)


def test_a_tick_is_due_when_the_image_gets_too_old():
    """Whatever the rate of ticks is; and only while something moves."""
    inference, shell = make(Policy(), max_age=0.5, action_space='joint_position',
                            joint_names=('a', 'b'))
    inference.configure()
    inference.activate()
    assert inference.due() == math.inf
    before = time.monotonic()
    inference.frame(picture(3))
    after = time.monotonic()
    shell.wait_for_state('RUNNING')
    assert before + 0.5 < inference.due() < after + 0.51
    threading.Event().wait(inference.due() - time.monotonic())
    inference.tick()
    assert shell.wait_for_state('HOLD').reason.startswith('stale image')
    assert inference.due() == math.inf
    assert inference.stop(DEADLINE)


def test_a_frame_from_before_the_order_is_not_answered():
    """It may be arbitrarily old; only what comes after is."""
    policy, begun, go_on = Policy(), threading.Event(), threading.Semaphore(0)
    answer_at_once = policy.infer

    def infer(observation):
        begun.set()
        assert go_on.acquire(timeout=DEADLINE)
        return answer_at_once(observation)

    policy.infer = infer
    inference, shell = make(policy)
    inference.configure()
    inference.activate()
    inference.frame(picture(1))
    assert begun.wait(DEADLINE)
    inference.frame(picture(2))
    inference.instruct('task 2')
    go_on.release(3)
    end = time.monotonic() + DEADLINE
    while shell.statuses.get(timeout=DEADLINE).progress.frames_unused == 0:
        assert time.monotonic() < end, 'the old frame was answered'
        inference.tell()
    inference.frame(picture(3))
    answer = shell.answers.get(timeout=DEADLINE)
    assert (answer.command.positions[0], answer.order.instruction) == (3.0, 'task 2')
    assert inference.stop(DEADLINE)
    assert shell.answers.empty()


def test_what_a_policy_kept_is_forgotten_with_the_instruction():
    """But not from one frame to the next."""
    policy = Policy()
    inference, shell = make(policy)
    inference.configure()
    inference.activate()
    for _ in range(2):
        inference.frame(picture(1))
        shell.answers.get(timeout=DEADLINE)
    assert policy.resets == 1
    inference.instruct('task 2')
    inference.frame(picture(1))
    shell.answers.get(timeout=DEADLINE)
    assert policy.resets == 2
    assert inference.stop(DEADLINE)


@pytest.mark.parametrize('spec, config, error', [
    (replace(SPEC, image_count=2), {}, UnsupportedError),
    (replace(SPEC, proprio_dim=8), {}, UnsupportedError),
    (SPEC, {'action_space': 'joint_position', 'joint_names': ('a',)}, ParameterError)])
def test_a_policy_that_does_not_fit_is_not_kept(spec, config, error):
    """The status names the reason, and the thread is gone."""
    inference, shell = make(Policy(spec), **config)
    with pytest.raises(error) as refused:
        inference.configure()
    assert shell.wait_for_state('FAULT').reason == f'not loaded: {refused.value}'
    assert 'vla_worker' not in {thread.name for thread in threading.enumerate()}


def test_a_policy_that_cannot_be_loaded():
    """The error goes to who asked, and into the status."""
    inference, shell = make(Policy(), checkpoint='')
    with pytest.raises(ParameterError):
        inference.configure()
    assert 'checkpoint' in shell.wait_for_state('FAULT').reason


def test_with_a_period_the_next_inference_waits_for_it():
    """On the newest frame then."""
    inference, shell = make(Policy(), inference_start='period', action_period=10.0)
    inference.configure()
    now = [100.0]
    inference._answerer.pace._clock = lambda: now[0]
    inference.activate()
    inference.frame(picture(1))
    assert shell.answers.get(timeout=DEADLINE).command.positions[0] == 1.0
    for level in (2, 3):
        now[0] += 4.9
        inference.frame(picture(level))
    assert shell.answers.empty()
    now[0] += 0.3
    inference.frame(picture(4))
    assert shell.answers.get(timeout=DEADLINE).command.positions[0] == 4.0
    inference.tell()
    assert [status.frames_dropped for status in shell.statuses.queue][-1] == 2
    assert inference.stop(DEADLINE)
    assert shell.answers.empty()


def test_a_result_whose_frame_has_grown_too_old_is_dropped_after_the_inference():
    """The policy was asked, and nothing is sent."""
    policy, shell_time = Policy(), [0]
    inference, shell = make(policy, action_space='joint_position', joint_names=('a', 'b'),
                            max_age=2.0)
    shell.now = lambda: shell_time[0]
    shell.stamp_of = lambda image: 10 ** 9
    answer_at_once = policy.infer
    asked = threading.Event()

    def infer(observation):
        shell_time[0] = 10 ** 9 + delays.pop(0)
        asked.set()
        return answer_at_once(observation)

    policy.infer = infer
    delays = [2_000_000_001, 1_900_000_000]
    inference.configure()
    inference.activate()
    shell_time[0] = 10 ** 9
    inference.frame(picture(1))
    assert 'stale image: the image was 2.000 s old when it was answered' in (
        shell.wait_for_state('HOLD').reason)
    assert asked.is_set() and shell.answers.empty()
    shell_time[0] = 10 ** 9
    inference.frame(picture(2))
    assert shell.answers.get(timeout=DEADLINE).command.positions[0] == 2.0
    assert inference.stop(DEADLINE)


def test_configuring_again_after_a_cleanup():
    """Nothing of the first policy stays."""
    inference, shell = make(Policy())
    for _ in range(2):
        inference.configure()
        inference.activate()
        inference.frame(picture(1))
        shell.answers.get(timeout=DEADLINE)
        inference.deactivate()
        assert inference.cleanup()
        shell.wait_for_state('UNCONFIGURED')


def test_nothing_is_published_once_it_was_stopped():
    """No command, no status, and no worker that is started too late."""
    inference, shell = make(Policy())
    inference.configure()
    inference.activate()
    assert inference.stop(DEADLINE)
    while not shell.statuses.empty():
        shell.statuses.get()
    inference.frame(picture(1))
    inference.tell()
    with pytest.raises(Cancelled):
        inference.configure()
    assert shell.answers.empty() and shell.statuses.empty()


def test_errors_of_loading_are_one_line():
    """Whatever the library says."""
    def load(config):
        raise CheckpointError('folder', 'two\n  lines')

    shell = Shell()
    inference = Inference(NodeConfig(checkpoint='x'), shell, StatusBoard('/c', '/i', 1.0), load)
    with pytest.raises(CheckpointError):
        inference.configure()
    assert shell.wait_for_state('FAULT').reason == 'not loaded: checkpoint folder: two lines'
