# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
A task of LIBERO in MuJoCo, driven by joint targets or by the benchmark's own controller.

Runs under the Python of ``.venv-libero``; only the functions here import the benchmark.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.worlds.libero.grasps import Boxes
from vla_ros.worlds.libero.grasps import find_grasp
from vla_ros.worlds.libero.grasps import Grasp
from vla_ros.worlds.libero.robot import FINGER_JOINTS
from vla_ros.worlds.libero.robot import MJCF_JOINTS
from vla_ros.worlds.libero.suites import ACTION_PERIOD
from vla_ros.worlds.libero.suites import SETTLING_STEPS
from vla_ros.worlds.libero.suites import TaskName

#: Side of the images, pixels, and the seed, as the official evaluation has them.
IMAGE_SIZE, SEED = 256, 0
CAMERAS = ('agentview', 'robot0_eye_in_hand')
#: Seconds of a physics step.
TIME_STEP = 0.002
#: Stiffness of the joint controller, 1/s², by unit of inertia; damping is critical.
_STIFFNESS = 60.0**2
_BOX = 6  # mjGEOM_BOX
#: An open gripper and no motion.
_REST = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
#: Height of the goal above what an object is put on, and of the way above what is near it, m.
_DROP, _CLEARANCE = 0.01, 0.06


class LiberoWorld:
    """One task of the benchmark; another task is another world."""

    def __init__(self, task: TaskName) -> None:
        """
        Build the world, which takes some seconds.

        :raises ParameterError: the benchmark has no such task, or no initial states for it.
        :raises UnsupportedError: nothing can be drawn on this machine.
        """
        from libero.libero import benchmark
        from libero.libero import get_libero_path
        from libero.libero.envs import OffScreenRenderEnv
        suite = benchmark.get_benchmark(task.suite)(task_order_index=0)
        described = suite.get_task(task.number)
        self.task = task
        #: Its instruction.
        self.instruction: str = described.language
        self._states = np.asarray(suite.get_task_init_states(task.number))
        if self._states.ndim != 2 or not len(self._states):
            raise ParameterError('world', str(task), 'a task with initial states')
        path = (Path(get_libero_path('bddl_files')) / described.problem_folder
                / described.bddl_file)
        try:
            self._wrapper = OffScreenRenderEnv(
                bddl_file_name=str(path), camera_heights=IMAGE_SIZE, camera_widths=IMAGE_SIZE,
                use_camera_obs=False, ignore_done=True)
            self._wrapper.seed(SEED)
            self._wrapper.reset()
        except (RuntimeError, AttributeError, ImportError) as error:
            raise UnsupportedError('LIBERO', f'it cannot draw ({error})', 'install EGL (Debian, '
                                   'Ubuntu: libegl1 libgl1-mesa-dri)') from None
        self._env = self._wrapper.env
        self._robot = self._env.robots[0]
        model = self._env.sim.model
        #: MuJoCo's own model and data.
        self.model: Any = model._model
        self.data: Any = self._env.sim.data._data
        self._joints = [model.get_joint_qpos_addr(name) for name in MJCF_JOINTS]
        self._speeds = [model.get_joint_qvel_addr(name) for name in MJCF_JOINTS]
        self._fingers = [model.get_joint_qpos_addr(name) for name in FINGER_JOINTS]
        self._finger_speed = model.get_joint_qvel_addr(FINGER_JOINTS[0])
        self._motors = np.asarray(self._robot._ref_joint_actuator_indexes)
        self._finger_motors = np.asarray(self._robot._ref_joint_gripper_actuator_indexes)
        self._grip_site = model.site_name2id('gripper0_grip_site')
        self._hand = model.body_name2id('robot0_right_hand')
        self.reset(0)

    @property
    def state_count(self) -> int:
        """How many initial states there are."""
        return len(self._states)

    def reset(self, state: int, settle: bool = True) -> None:
        """
        Restore a recorded initial state, and let the objects fall into place.

        :param settle: as the official evaluation does: ten steps of no motion.
        :raises ParameterError: there is no such state.
        """
        if not 0 <= state < len(self._states):
            raise ParameterError('initial state', state,
                                 f'a whole number from 0 to {len(self._states) - 1}')
        self._grasp: Grasp | None = None
        self._seen = np.zeros(3)
        self.data.qacc_warmstart[:] = 0.0
        self.data.ctrl[:] = 0.0
        self.data.xfrc_applied[:] = 0.0
        self._wrapper.set_init_state(self._states[state])
        self._robot.gripper.current_action = np.zeros(self._robot.gripper.dof)
        self._robot.controller.update(force=True)
        self._robot.controller.reset_goal()
        for _ in range(SETTLING_STEPS if settle else 0):
            self.act(_REST)
        self._target = self.joint_positions()
        self._target[7] = 0.04  # the ten steps open it
        self._target_speeds = np.zeros(8)

    def act(self, action: Sequence[float] | np.ndarray) -> None:
        """
        Do one step of the benchmark's own controller, 0.05 s.

        :param action: float64 (7,): change of position and rotation in [-1, 1], then the gripper,
            -1 open, 1 closed.
        """
        self._env.step(np.asarray(action, np.float64))

    def command(self, positions: np.ndarray, speeds: np.ndarray) -> None:
        """
        Set what the joints go to from now on.

        :param positions: float64 (8,), rad, then half of the opening of the gripper, m.
        :param speeds: float64 (8,), rad/s and m/s.
        """
        self._target = np.array(positions)
        self._target_speeds = np.array(speeds)

    @property
    def target(self) -> np.ndarray:
        """Where the joints are to be, float64 (8,)."""
        return self._target

    def rest(self) -> None:
        """Stay where the last command has led."""
        self._target_speeds[:] = 0.0

    def step(self, seconds: float) -> None:
        """Move the arm by the joint controller for some seconds."""
        import mujoco
        inertia = np.zeros((self.model.nv, self.model.nv))
        low, high = self.model.actuator_ctrlrange[self._motors].T
        grid = np.ix_(self._speeds, self._speeds)
        target = self._target[:7].copy()
        for _ in range(round(seconds / TIME_STEP)):
            mujoco.mj_forward(self.model, self.data)
            mujoco.mj_fullM(self.model, inertia, self.data.qM)
            target += self._target_speeds[:7] * TIME_STEP
            wanted = (_STIFFNESS * (target - self.data.qpos[self._joints])
                      + 2.0 * np.sqrt(_STIFFNESS)
                      * (self._target_speeds[:7] - self.data.qvel[self._speeds]))
            torques = inertia[grid] @ wanted + self.data.qfrc_bias[self._speeds]
            self.data.ctrl[self._motors] = np.clip(torques, low, high)
            self.data.ctrl[self._finger_motors] = self._target[7], -self._target[7]
            mujoco.mj_step(self.model, self.data)
        self._target[:7] = target

    def joint_positions(self) -> np.ndarray:
        """Return where the joints are, float64 (8,), rad, then one finger, m."""
        return np.append(self.data.qpos[self._joints], self.data.qpos[self._fingers[0]])

    def joint_velocities(self) -> np.ndarray:
        """Return how fast they go, float64 (8,), rad/s and m/s."""
        return np.append(self.data.qvel[self._speeds], self.data.qvel[self._finger_speed])

    def proprio(self) -> np.ndarray:
        """
        Return the robot's state as the official evaluation gives it to OpenVLA-OFT, float64 (8,).

        Position of the grip point in the world (m), rotation of the hand as axis times angle
        (rad), positions of both fingers (m).
        """
        quaternion = np.array(self.data.xquat[self._hand])
        # The angle is from 0 to 2 pi, as robosuite's quat2axisangle has it.
        half = np.arccos(np.clip(quaternion[0], -1.0, 1.0))
        length = np.sqrt(max(1.0 - quaternion[0]**2, 0.0))
        axis = quaternion[1:] / length if length > 1e-9 else np.zeros(3)
        return np.concatenate([self.data.site_xpos[self._grip_site], 2.0 * half * axis,
                               self.data.qpos[self._fingers]])

    def render(self, camera: str) -> np.ndarray:
        """Draw what a camera sees, uint8 (256, 256, 3) RGB, upside down as the benchmark does."""
        image: np.ndarray = self._env.sim.render(camera_name=camera, width=IMAGE_SIZE,
                                                 height=IMAGE_SIZE)
        return image

    def is_success(self) -> bool:
        """Evaluate the benchmark's own predicate."""
        return bool(self._wrapper.check_success())

    def state(self) -> np.ndarray:
        """
        Return what a scripted expert needs to know, float64 (20,), m and rad, in the world.

        The robot's state (8), position of the object (3), where to take it (3) and at what angle
        (1), where it is to be put (3), least height of its position on the way (1), and the
        height below which it is to be let go (1).

        :raises UnsupportedError: the task is not to put one object somewhere.
        """
        name, goal = self._goal()
        shape = self._boxes(self._bodies(name))
        others = self._boxes(self._obstacles(name))
        position = np.array(self.data.xpos[self._root(name)])
        if self._grasp is None or np.linalg.norm(position - self._seen) > 0.002:
            finger_axis = self.data.xmat[self._hand].reshape(3, 3)[:, 1]
            angle = float(np.arctan2(finger_axis[1], finger_axis[0]))
            # One that is held needs no other grasp, and one that rests keeps its own: several
            # may look equally good.
            is_held = np.linalg.norm(position - self.data.site_xpos[self._grip_site]) < 0.1
            if self._grasp is None or not is_held:
                self._grasp = find_grasp(shape, others, angle)
                self._seen = position
        grasp = self._grasp
        below = position[2] - shape.corners[:, 2].min()
        place, release = self._place(goal, below)
        travel = self._highest(others, position, place) + below + _CLEARANCE
        return np.concatenate([self.proprio(), position, grasp.point, [grasp.angle], place,
                               [travel, release]])

    def close(self) -> None:
        """Free what the benchmark holds."""
        self._wrapper.close()

    def _goal(self) -> tuple[str, str]:
        goals = self._env.parsed_problem['goal_state']
        if len(goals) != 1 or goals[0][0] not in ('on', 'in'):
            raise UnsupportedError('the scripted expert', f'{self.task} asks for {goals}',
                                   'it can put one object on or in something: libero_spatial '
                                   'and libero_object')
        return goals[0][1], goals[0][2]

    def _place(self, goal: str, below: float) -> tuple[np.ndarray, float]:
        if goal in self._env.objects_dict:  # on a plate
            shape = self._boxes(self._bodies(goal))
            center = self.data.xpos[self._root(goal)]
            top = shape.corners[:, 2].min() + 0.012
            place = np.array([center[0], center[1], top + below + _DROP])
            return place, float(place[2])
        site = self._env.sim.model.site_name2id(goal)
        center = self.data.site_xpos[site]
        owner = self._env.object_sites_dict[goal].parent_name
        rim = self._boxes(self._bodies(owner)).corners[:, 2].max()
        # The hand stays above the rim, and the object falls the rest of the way.
        place = np.array([center[0], center[1], rim + below - 0.03])
        return place, float(place[2])

    def _highest(self, others: Boxes, start: np.ndarray, end: np.ndarray) -> float:
        """Return the height of the highest object near the path."""
        corners = others.corners
        way = end[:2] - start[:2]
        share = np.clip((corners[:, :2] - start[:2]) @ way / max(way @ way, 1e-9), 0.0, 1.0)
        distance = np.linalg.norm(corners[:, :2] - start[:2] - share[:, None] * way, axis=1)
        near = corners[distance < 0.12, 2]
        return float(near.max()) if len(near) else float(start[2])

    def _root(self, name: str) -> int:
        things = {**self._env.objects_dict, **self._env.fixtures_dict}
        return int(self._env.sim.model.body_name2id(things[name].root_body))

    def _bodies(self, name: str) -> set[int]:
        found = {self._root(name)}
        for body in range(self.model.nbody):
            if int(self.model.body_parentid[body]) in found:
                found.add(body)
        return found

    def _obstacles(self, name: str) -> set[int]:
        names = [other for other in (*self._env.objects_dict, *self._env.fixtures_dict)
                 if other != name and not other.endswith('table')
                 and other not in ('floor', 'main_table')]
        return set().union(*(self._bodies(other) for other in names)) if names else set()

    def _boxes(self, bodies: set[int]) -> Boxes:
        model = self.model
        geoms = [geom for geom in range(model.ngeom) if int(model.geom_bodyid[geom]) in bodies
                 and model.geom_type[geom] == _BOX and model.geom_contype[geom]]
        return Boxes(self.data.geom_xpos[geoms].copy(),
                     self.data.geom_xmat[geoms].reshape(-1, 3, 3).copy(),
                     model.geom_size[geoms].copy())


assert round(ACTION_PERIOD / TIME_STEP) == 25
