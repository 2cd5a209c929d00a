# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Success and jerk of policies whose results come late: the tables of docs/latency.md.

The node's own motion layer (robot, limits, trajectories) moves the simulated arm by simulated
time, without ROS. One inference runs at a time and begins with the newest image, at most one in
the period of an action. Not a test:

    python test/bench_latency.py --policy noisy --episodes 60
"""

import argparse
from dataclasses import dataclass
import json
from pathlib import Path
import sys
import time

# The world first: it chooses how images are drawn before MuJoCo is imported.
from vla_ros.worlds.world import World  # noqa: I100
from latency_policies import ExpertChunks  # noqa: I100, I202
from latency_policies import L1Chunks
from latency_policies import NoisyChunks
from latency_policies import PERIOD
from latency_policies import TokenPolicy
import numpy as np

from vla_ros.control.motion_setup import build_arm
from vla_ros.control.parameters import NodeConfig
from vla_ros.motion.arm import Arm
from vla_ros.motion.timing import REMAINDERS
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import PolicySpec
from vla_ros.robot.hold import Hold
from vla_ros.worlds.outcomes import wilson_interval
from vla_ros.worlds.robot import JOINTS
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.scene import draw_scene
from vla_ros.worlds.tasks import ALL_TASKS
from vla_ros.worlds.tasks import SuccessDetector

LATENCIES = (0.0, 0.05, 0.1, 0.2, 0.4)
#: Seconds of a tick, and of an episode at most.
TICK, LONGEST = 0.01, 15.0
_ROWS = ('policy', 'latency_s', 'remainder', 'episodes', 'successes', 'interval', 'seconds',
         'jerk_rms', 'jerk_max', 'holds')


@dataclass
class State:
    """A node that runs, or holds until its next result."""

    is_held: bool = False
    shadow: bool = False
    holds_gripper: bool = True
    is_silent: bool = False

    @property
    def is_moving(self) -> bool:
        """Whether the arm moves by actions."""
        return not self.is_held


def make_arm(count: int, remainder: str) -> Arm:
    """Make the arm as the node does with config/tabletop.yaml."""
    config = NodeConfig(
        checkpoint='-', unnorm_key='vla_ros_tabletop', action_space='dataset',
        robot_file='six_axis_arm', remainder=remainder, gate_jump=2.0, gate_following=0.25,
        limits_velocity=(0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.12))
    spec = PolicySpec('-', 'vla_ros_tabletop', (count, 7), 1, 0, 'cpu', 'float32', 'none', '',
                      'none')
    return build_arm(config, spec, str)


def run_episode(world: World, policy, seed: int, latency: float, remainder: str):
    """
    Run one episode.

    :returns: whether it succeeded, its seconds, the jerk of the commanded arm joints, float64
        (K, 6) rad/s³, and the number of holds.
    """
    task = ALL_TASKS[seed % len(ALL_TASKS)]
    world.reset(draw_scene(seed, (task.color,)))
    arm, state, detector = None, State(), SuccessDetector(task, world.state())
    pending, following, accelerations, holds = None, 0.0, [], 0
    for tick in range(round(LONGEST / TICK)):
        now = tick * TICK
        if pending is None and now >= following - 1e-9:
            following = max(following, now - PERIOD) + PERIOD
            pending = now, policy.infer(task)
        if arm is None:
            arm = make_arm(len(pending[1]), remainder)
        arm.measurements.take(JOINTS, world.joint_positions().tolist(), time.monotonic())
        if pending is not None and now >= pending[0] + latency - 1e-9:
            (observed, actions), pending = pending, None
            try:
                arm.execute(arm.plan(_chunk(actions), arm.plan_start(now, observed)))
                state.is_held = False
            except Hold:
                state.is_held, holds = True, holds + 1
        try:
            command = arm.tick(state, now)
        except Hold:
            state.is_held, holds, command = True, holds + 1, None
        if command is not None:
            world.command(command.setpoint.positions)
            accelerations.append(command.setpoint.accelerations[:6])
        world.step(TICK)
        detector.observe(world.state())
        if detector.decided is not None:
            break
    jerk = np.diff(np.array(accelerations), axis=0) / TICK
    return detector.succeeded, world.time, jerk, holds


def _chunk(actions: np.ndarray) -> ActionChunk:
    return ActionChunk(actions, actions, (), (), np.zeros(0, np.float32), '', (), {})


def run_cell(world: World, policy, seeds: range, latency: float, remainder: str) -> dict:
    """Run the episodes of one cell of the tables."""
    results = [run_episode(world, policy, seed, latency, remainder) for seed in seeds]
    successes = sum(result[0] for result in results)
    jerk = np.concatenate([result[2] for result in results])
    return dict(zip(_ROWS, (
        policy.name, latency, remainder, len(results), successes,
        [round(end, 3) for end in wilson_interval(successes, len(results))],
        round(float(np.mean([result[1] for result in results])), 2),
        round(float(np.sqrt((jerk**2).mean())), 1), round(float(np.abs(jerk).max()), 1),
        sum(result[3] for result in results))))


def make_policy(name: str, world: World, folder: Path):
    """Make a policy by its name."""
    if name == 'l1':
        return L1Chunks(world, folder / 'l1.pt', 200)
    return {'expert': ExpertChunks, 'noisy': NoisyChunks, 'token': TokenPolicy}[name](world)


def main() -> int:
    """Run the cells and print a row of Markdown for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--policy', choices=('expert', 'noisy', 'l1', 'token'), required=True)
    parser.add_argument('--episodes', type=int, default=60)
    parser.add_argument('--seed', type=int, default=10000)
    parser.add_argument('--latencies', type=float, nargs='+', default=LATENCIES)
    parser.add_argument('--remainders', choices=REMAINDERS, nargs='+', default=REMAINDERS)
    parser.add_argument('--out', type=Path, default=Path('latency'), help='folder of the results')
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    world = World(Robot.load())
    policy = make_policy(arguments.policy, world, arguments.out)
    seeds = range(arguments.seed, arguments.seed + arguments.episodes)
    for latency in arguments.latencies:
        for remainder in arguments.remainders:
            row = run_cell(world, policy, seeds, latency, remainder)
            with (arguments.out / f'{arguments.policy}.jsonl').open('a') as stream:
                stream.write(json.dumps(row) + '\n')
            print('| ' + ' | '.join(str(row[name]) for name in _ROWS) + ' |', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
