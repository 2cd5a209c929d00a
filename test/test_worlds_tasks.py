# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The world is reproducible by its seed, the expert completes every task, success is detected."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('vla_ros.worlds.world')

from vla_ros.worlds.expert import Expert  # noqa: E402
from vla_ros.worlds.follower import COMMAND_TIMEOUT  # noqa: E402
from vla_ros.worlds.robot import JOINTS  # noqa: E402
from vla_ros.worlds.robot import Robot  # noqa: E402
from vla_ros.worlds.scene import draw_scene  # noqa: E402
from vla_ros.worlds.tasks import ALL_TASKS  # noqa: E402
from vla_ros.worlds.tasks import SuccessDetector  # noqa: E402
from vla_ros.worlds.tasks import Task  # noqa: E402
from vla_ros.worlds.tasks import TaskError  # noqa: E402
from vla_ros.worlds.tasks import WorldState  # noqa: E402
from vla_ros.worlds.world import World  # noqa: E402

ROBOT = Robot.load()


@pytest.fixture(scope='module')
def world():
    world = World(ROBOT)
    yield world
    world.close()


def play(world, task, judged, seed, noise=0.0, seconds=15.0):
    """Let the expert do a task; return the detector, which may be of another one."""
    rng = np.random.default_rng(seed)
    expert = Expert(ROBOT)
    world.reset(draw_scene(seed, (task.color, judged.color)[:1 + (task.color != judged.color)]))
    detector = SuccessDetector(judged, world.state())
    while detector.decided is None and world.time < seconds:
        target = expert.act(task, world.state())
        target[:6] += noise * rng.normal(size=6)
        world.command(target)
        world.step(0.1)
        detector.observe(world.state())
    return detector


@pytest.mark.parametrize('task', ALL_TASKS, ids=lambda task: task.instruction)
def test_the_expert_completes_the_task(world, task):
    assert play(world, task, task, seed=31).succeeded


@pytest.mark.parametrize('kind', ['reach', 'push', 'pick'])
def test_the_expert_completes_tasks_with_noise(world, kind):
    task = Task(kind, 'blue')
    assert all(play(world, task, task, seed, noise=0.03).succeeded for seed in (41, 42, 43))


def test_the_pushing_target_of_the_expert_is_continuous():
    """A step of 0.5 mm changes the target by less than 10 mm; docs/log.md gives the reason."""
    rng = np.random.default_rng(3)
    expert, task = Expert(ROBOT), Task('push', 'red')
    block = np.array([0.36, 0.08, 0.02])

    def goal(tool):
        target = expert.act(task, WorldState(0.0, tool, 0.0, {'red': block}))
        return ROBOT.forward(dict(zip(JOINTS, target)))[:3, 3]

    for _ in range(3000):
        tool = block + rng.uniform([-0.15, -0.15, 0.0], [0.1, 0.15, 0.12])
        step = rng.normal(size=3)
        step *= 0.0005 / np.linalg.norm(step)
        assert np.linalg.norm(goal(tool + step) - goal(tool)) < 0.01


@pytest.mark.parametrize('kind', ['reach', 'push', 'pick'])
def test_the_wrong_color_is_a_failure(world, kind):
    detector = play(world, Task(kind, 'red'), Task(kind, 'green'), seed=51)
    assert detector.decided == 'red' and not detector.succeeded


def test_events_after_the_decision_do_not_count(world):
    detector = play(world, Task('reach', 'red'), Task('reach', 'green'), seed=52)
    now = world.state()
    for moment in (0.0, 1.0):
        detector.observe(replace(now, time=now.time + moment, tool=now.blocks['green']))
    assert detector.decided == 'red'


def test_the_same_seed_gives_the_same_episode(world):
    images, ends = [], []
    for seed in (61, 62, 61):
        play(world, Task('push', 'red'), Task('push', 'red'), seed)
        ends.append(world.state().blocks['red'])
        images.append(world.render())
    assert np.array_equal(ends[0], ends[2]) and np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[1])


def test_the_arm_stops_when_commands_stop(world):
    world.reset(draw_scene(71))
    world.command(Expert(ROBOT).joints(np.array([0.3, -0.25, 0.2]), 0.0))
    world.step(COMMAND_TIMEOUT)
    assert np.abs(world.joint_velocities()[:6]).max() > 0.1
    world.step(0.2)
    assert np.abs(world.joint_velocities()).max() < 0.01


def test_a_stop_takes_less_than_100_ms(world):
    world.reset(draw_scene(72))
    world.command(Expert(ROBOT).joints(np.array([0.3, -0.25, 0.2]), 0.0))
    world.step(0.25)
    assert np.abs(world.joint_velocities()[:6]).max() > 0.5
    world.stop()
    world.step(0.1)
    assert np.abs(world.joint_velocities()).max() < 0.05


def test_no_joint_exceeds_its_speed_limit(world):
    world.reset(draw_scene(73))
    fastest = 0.0
    for corner in ([0.3, -0.25, 0.2], [0.5, 0.25, 0.03], [0.3, 0.25, 0.2]):
        for _ in range(50):
            world.command(Expert(ROBOT).joints(np.array(corner), 0.04))
            world.step(0.02)
            fastest = max(fastest, np.abs(world.joint_velocities()[:6]).max())
    assert 0.5 < fastest < 1.0


def test_a_block_is_in_the_image_at_its_projection(world):
    for seed in range(5):
        world.reset(replace(draw_scene(seed, ('red',)), tool=np.array([0.28, 0.0, 0.22])))
        right, down = world.project(world.state().blocks['red']) * world.image_size
        pixel = world.render()[int(down), int(right)].astype(int)
        assert pixel[0] > 2 * pixel[1] and pixel[0] > 2 * pixel[2]


def test_instructions_are_parsed_or_refused():
    assert Task.parse('  Pick up  the RED block. ') == Task('pick', 'red')
    assert [Task.parse(task.instruction) for task in ALL_TASKS] == list(ALL_TASKS)
    with pytest.raises(TaskError, match='make tea'):
        Task.parse('make tea')
