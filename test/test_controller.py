# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The controller from frames to commands, with an interface in place of ROS."""

from dataclasses import replace
import math
import queue
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from vla_ros.control.controller import Controller
from vla_ros.control.parameters import NodeConfig
from vla_ros.control.status import NodeStatus
from vla_ros.errors import Cancelled
from vla_ros.errors import CheckpointError
from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import PolicySpec
from vla_ros.robot.hold import Reason
from vla_ros.safety import emergency_stop
from vla_ros.safety.emergency_stop import EstopTopicState

DEADLINE = 20.0
SPEC = PolicySpec('fake', 'key', (2, 2), 1, 0, 'cpu', 'float32', 'sdpa', 'best here', 'none')


@pytest.fixture(autouse=True)
def no_settling(monkeypatch):
    """Do not wait for the discovery of an emergency stop."""
    monkeypatch.setattr(emergency_stop, 'SETTLE_TIME', 0.0)


class RosInterface:
    """Keeps what is published; images are plain arrays."""

    def __init__(self):
        self.results = queue.Queue()
        self.statuses = queue.Queue()
        self.command = None

    def now(self):
        return time.monotonic_ns()

    def take_estop(self):
        return ()

    def find_estop_publishers(self):
        return EstopTopicState()

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

    def publish_command(self, command, image, is_shadow):
        self.command = command

    def publish_result(self, result, published):
        self.results.put(SimpleNamespace(**vars(result), command=self.command))
        return 0.25

    def publish_status(self, status):
        self.statuses.put(status)

    def wait_for_state(self, state):
        """Return the first status of this state."""
        while True:
            status = self.statuses.get(timeout=DEADLINE)
            if status.state == state:
                return status


class Policy:
    """Predicts the first pixel, then twice that; counts its resets."""

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


def image(level):
    """Return a small image of one grey level."""
    return np.full((2, 2, 3), level, np.uint8)


def make(policy, **config):
    """Return a controller with this policy, and its ROS interface."""
    ros = RosInterface()
    status = NodeStatus('/camera', '/instruction', image_timeout=60.0)
    config = NodeConfig(**{'checkpoint': 'fake', 'instruction': 'task 1', **config})
    return Controller(config, ros, status, lambda policy_config: policy), ros


def test_the_first_action_of_a_chunk_is_sent():
    controller, ros = make(Policy())
    assert controller.configure() == SPEC
    controller.activate()
    controller.frame(image(3))
    result = ros.results.get(timeout=DEADLINE)
    assert result.command.positions == (3.0, 3.0)
    assert result.frame.received <= result.started <= result.ended
    assert (result.context.instruction, result.unnorm_key) == ('task 1', 'key')
    assert ros.wait_for_state('RUNNING').progress.last_age == 0.25
    assert controller.stop(DEADLINE)


def test_a_frame_is_prefetched_during_the_previous_inference():
    """The camera's thread prefetches; an image to be decoded first is left to the worker."""
    policy, prefetched, inferred = Policy(), queue.Queue(), queue.Queue()
    release = threading.Event()

    def infer(observation):
        inferred.put(observation.prefetched)
        assert release.wait(DEADLINE)
        return Policy.infer(policy, observation)

    policy.infer = infer
    policy.prefetch = lambda image: (prefetched.put(int(image[0, 0, 0]))
                                     or f'prefetched {image[0, 0, 0]}')
    controller, ros = make(policy)
    controller.configure()
    controller.activate()
    controller.frame(image(3))
    assert inferred.get(timeout=DEADLINE) == 'prefetched 3'
    controller.frame(image(4))
    assert [prefetched.get(timeout=DEADLINE) for _ in range(2)] == [3, 4]
    release.set()
    assert inferred.get(timeout=DEADLINE) == 'prefetched 4'
    controller.frame(image(5)[:1])
    assert inferred.get(timeout=DEADLINE) is None
    assert controller.stop(DEADLINE)
    assert prefetched.empty()


def test_a_clock_jump_replaces_stale_image_as_the_reason_of_a_hold():
    controller, ros = make(Policy(), max_age=0.5, action_space='joint_position',
                           joint_names=('a', 'b'))
    controller.configure()
    controller.activate()
    controller.tick()
    controller.hold(Reason.STALE_IMAGE, 'it was 50 s old')
    ros.wait_for_state('HOLD')
    ros.now = lambda: time.monotonic_ns() - 50_000_000_000
    controller.tick()
    assert ros.wait_for_state('HOLD').reason.startswith('clock jumped: the clock went back by')
    assert controller.stop(DEADLINE)


def test_a_tick_is_due_when_the_image_becomes_stale():
    controller, ros = make(Policy(), max_age=0.5, action_space='joint_position',
                           joint_names=('a', 'b'))
    controller.configure()
    controller.activate()
    assert controller.due() == math.inf
    before = time.monotonic()
    controller.frame(image(3))
    after = time.monotonic()
    ros.wait_for_state('RUNNING')
    assert before + 0.5 < controller.due() < after + 0.51
    threading.Event().wait(controller.due() - time.monotonic())
    controller.tick()
    assert ros.wait_for_state('HOLD').reason.startswith('stale image')
    assert controller.due() == math.inf
    assert controller.stop(DEADLINE)


def test_a_frame_older_than_the_instruction_is_not_inferred():
    policy, begun, go_on = Policy(), threading.Event(), threading.Semaphore(0)
    infer_at_once = policy.infer

    def infer(observation):
        begun.set()
        assert go_on.acquire(timeout=DEADLINE)
        return infer_at_once(observation)

    policy.infer = infer
    controller, ros = make(policy)
    controller.configure()
    controller.activate()
    controller.frame(image(1))
    assert begun.wait(DEADLINE)
    controller.frame(image(2))
    controller.instruct('task 2')
    go_on.release(3)
    end = time.monotonic() + DEADLINE
    while ros.statuses.get(timeout=DEADLINE).progress.frames_unused == 0:
        assert time.monotonic() < end, 'the old frame was inferred'
        controller.publish_status()
    controller.frame(image(3))
    result = ros.results.get(timeout=DEADLINE)
    assert (result.command.positions[0], result.context.instruction) == (3.0, 'task 2')
    assert controller.stop(DEADLINE)
    assert ros.results.empty()


def test_a_new_instruction_resets_the_policy():
    policy = Policy()
    controller, ros = make(policy)
    controller.configure()
    controller.activate()
    for _ in range(2):
        controller.frame(image(1))
        ros.results.get(timeout=DEADLINE)
    assert policy.resets == 1
    controller.instruct('task 2')
    controller.frame(image(1))
    ros.results.get(timeout=DEADLINE)
    assert policy.resets == 2
    assert controller.stop(DEADLINE)


@pytest.mark.parametrize('spec, config, error', [
    (replace(SPEC, image_count=2), {}, UnsupportedError),
    (replace(SPEC, proprio_dim=8), {}, UnsupportedError),
    (SPEC, {'action_space': 'joint_position', 'joint_names': ('a',)}, ParameterError)])
def test_a_policy_that_does_not_fit_is_a_fault_and_is_unloaded(spec, config, error):
    """The status names the reason, and the worker has ended."""
    controller, ros = make(Policy(spec), **config)
    with pytest.raises(error) as refused:
        controller.configure()
    assert ros.wait_for_state('FAULT').reason == f'not loaded: {refused.value}'
    assert 'vla_worker' not in {thread.name for thread in threading.enumerate()}


def test_a_policy_that_cannot_be_loaded_is_a_fault():
    """The error is raised, and its reason is in the status."""
    controller, ros = make(Policy(), checkpoint='')
    with pytest.raises(ParameterError):
        controller.configure()
    assert 'checkpoint' in ros.wait_for_state('FAULT').reason


def test_with_a_period_the_next_inference_starts_one_period_later():
    controller, ros = make(Policy(), inference_start='period', action_period=10.0)
    controller.configure()
    now = [100.0]
    controller._inference.rate_limiter._clock = lambda: now[0]
    controller.activate()
    controller.frame(image(1))
    assert ros.results.get(timeout=DEADLINE).command.positions[0] == 1.0
    for level in (2, 3):
        now[0] += 4.9
        controller.frame(image(level))
    assert ros.results.empty()
    now[0] += 0.3
    controller.frame(image(4))
    assert ros.results.get(timeout=DEADLINE).command.positions[0] == 4.0
    controller.publish_status()
    assert [status.frames_dropped for status in ros.statuses.queue][-1] == 2
    assert controller.stop(DEADLINE)
    assert ros.results.empty()


def test_a_result_is_dropped_if_its_frame_became_stale_during_the_inference():
    policy, ros_time = Policy(), [0]
    controller, ros = make(policy, action_space='joint_position', joint_names=('a', 'b'),
                           max_age=2.0)
    ros.now = lambda: ros_time[0]
    ros.stamp_of = lambda image: 10 ** 9
    infer_at_once = policy.infer
    inferred_once = threading.Event()

    def infer(observation):
        ros_time[0] = 10 ** 9 + delays.pop(0)
        inferred_once.set()
        return infer_at_once(observation)

    policy.infer = infer
    delays = [2_000_000_001, 1_900_000_000]
    controller.configure()
    controller.activate()
    ros_time[0] = 10 ** 9
    controller.frame(image(1))
    assert 'stale image: the image was 2.000 s old when its inference ended' in (
        ros.wait_for_state('HOLD').reason)
    assert inferred_once.is_set() and ros.results.empty()
    ros_time[0] = 10 ** 9
    controller.frame(image(2))
    assert ros.results.get(timeout=DEADLINE).command.positions[0] == 2.0
    assert controller.stop(DEADLINE)


@pytest.mark.parametrize('age, max_age, warning', [
    (37.0, 2.0, 's old when it came, max_age is 2 s'), (1.0, 2.0, ''), (37.0, 0.0, '')])
def test_raw_actions_of_an_old_image_are_sent_with_a_warning(age, max_age, warning):
    """Raw actions move nothing by themselves; the status gives the age of the image."""
    controller, ros = make(Policy(), max_age=max_age)
    taken = ros.now() - round(1e9 * age)
    ros.stamp_of, ros.robot_description = lambda image: taken, str
    controller.configure()
    controller.activate()
    controller.frame(image(1))
    assert ros.results.get(timeout=DEADLINE).command.positions[0] == 1.0
    reason = ros.wait_for_state('RUNNING').reason
    assert warning in reason and bool(warning) == bool(reason) == ('was 37.' in reason)
    assert controller.stop(DEADLINE)


def test_a_chunk_is_planned_from_the_time_of_its_image(monkeypatch):
    pytest.importorskip('ruckig')
    from vla_ros.motion.executor import TrajectoryExecutor
    policy, observed = Policy(replace(SPEC, action_shape=(1, 7))), queue.Queue()
    policy.infer = lambda observation: ActionChunk(
        np.zeros((1, 7)), np.zeros((1, 7)), (), (), np.zeros(0, np.float32), '', (), {})
    controller, ros = make(policy, robot_file='six_axis_arm', action_space='joint_delta',
                           action_period=0.1, action_gripper=(6.0, 1.0, 0.0))
    start = TrajectoryExecutor.plan_start
    monkeypatch.setattr(TrajectoryExecutor, 'plan_start', lambda self, now, seen=None: (
        observed.put(seen), start(self, now, seen))[1])
    ros.stamp_of, ros.robot_description = lambda image: taken, str
    controller.configure()
    controller.joints([f'joint_{number}' for number in range(1, 7)], [0.0] * 6, 0)
    controller.activate()
    taken = time.monotonic_ns() - 300_000_000
    controller.frame(image(3))
    assert observed.get(timeout=DEADLINE) == pytest.approx(taken / 1e9, abs=0.1)
    assert controller.stop(DEADLINE)


def test_a_cleaned_up_controller_can_be_configured_again():
    controller, ros = make(Policy())
    for _ in range(2):
        controller.configure()
        controller.activate()
        controller.frame(image(1))
        ros.results.get(timeout=DEADLINE)
        controller.deactivate()
        assert controller.cleanup()
        ros.wait_for_state('UNCONFIGURED')


def test_a_stopped_controller_publishes_nothing():
    controller, ros = make(Policy())
    controller.configure()
    controller.activate()
    assert controller.stop(DEADLINE)
    while not ros.statuses.empty():
        ros.statuses.get()
    controller.frame(image(1))
    controller.publish_status()
    with pytest.raises(Cancelled):
        controller.configure()
    assert ros.results.empty() and ros.statuses.empty()


def test_errors_of_loading_are_one_line():
    def load(config):
        raise CheckpointError('folder', 'two\n  lines')

    ros = RosInterface()
    controller = Controller(NodeConfig(checkpoint='x'), ros, NodeStatus('/c', '/i', 1.0), load)
    with pytest.raises(CheckpointError):
        controller.configure()
    assert ros.wait_for_state('FAULT').reason == 'not loaded: checkpoint folder: two lines'
