# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The simulated world: MuJoCo's model of it, its physics and its camera."""

import os
import sys
from typing import Any

import numpy as np

from vla_ros.errors import UnsupportedError
from vla_ros.worlds.drawing import cannot_draw
from vla_ros.worlds.drawing import drawing_variable
from vla_ros.worlds.drawing import load_triton_first
from vla_ros.worlds.follower import JointFollower
from vla_ros.worlds.robot import JOINTS
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.robot import TOOL_LINK
from vla_ros.worlds.robot import TopDownArm
from vla_ros.worlds.scene import BLOCK_SIZE
from vla_ros.worlds.scene import Scene
from vla_ros.worlds.scene import TABLES
from vla_ros.worlds.tasks import COLORS
from vla_ros.worlds.tasks import WorldState

load_triton_first()
if _variable := drawing_variable(os.environ):
    os.environ['MUJOCO_GL'] = _variable
import mujoco  # noqa: E402, I100

#: Seconds of one step of the physics.
TIME_STEP = 0.002
IMAGE_SIZE = 224

CAMERA = 'camera'
#: Vertical field of view, degrees.
FIELD_OF_VIEW = 38.0
_CAMERA_POSITION = np.array([0.92, 0.0, 0.80])
_CAMERA_TARGET = np.array([0.385, 0.0, 0.04])
_DISTRACTORS = ('cylinder', 'box')
_AWAY = np.array([0.0, 0.0, -1.0])


class World:
    """The arm on its table; time passes only in :meth:`step`."""

    def __init__(self, robot: Robot, image_size: int = IMAGE_SIZE) -> None:
        """
        Build the model.

        :param image_size: side of the camera's square image, pixels.
        """
        self.robot = robot
        self.image_size = image_size
        self.model = mujoco.MjModel.from_xml_string(_mjcf(robot, image_size))
        self.data = mujoco.MjData(self.model)
        self._arm = TopDownArm(robot)
        self._joints = [self.model.joint(name) for name in JOINTS]
        self._positions = np.array([joint.qposadr[0] for joint in self._joints])
        self._velocities = np.array([joint.dofadr[0] for joint in self._joints])
        self._tool = self.model.site(TOOL_LINK).id
        self._renderer: mujoco.Renderer | None = None
        self._present: tuple[str, ...] = ()
        self._follower = JointFollower(np.zeros(7))
        self._camera_position = self.model.camera(CAMERA).pos.copy()
        self._camera_rotation = self.model.camera(CAMERA).quat.copy()

    def reset(self, scene: Scene) -> None:
        """Arrange a scene and let it come to rest; time starts at zero."""
        self.place(scene)
        mujoco.mj_step(self.model, self.data, 50)
        self.data.time = 0.0
        mujoco.mj_forward(self.model, self.data)

    def place(self, scene: Scene) -> None:
        """Arrange a scene without simulating it; objects have not come to rest yet."""
        mujoco.mj_resetData(self.model, self.data)
        self._arrange(scene)
        self._apply_materials(scene)
        start = np.array([*self._arm.solve(scene.tool), scene.gripper])
        self.data.qpos[self._positions] = start
        self.data.qpos[self.model.joint('gripper_mirror').qposadr[0]] = scene.gripper
        self.data.ctrl[:] = start
        self._follower = JointFollower(start)
        mujoco.mj_forward(self.model, self.data)

    def command(self, target: np.ndarray) -> None:
        """Send joint targets, float64 (7,), rad and m; they hold for ``COMMAND_TIMEOUT``."""
        self._follower.command(target, self.data.time)

    def stop(self) -> None:
        """Stop the arm."""
        self._follower.stop()

    def step(self, duration: float) -> None:
        """Advance time, seconds."""
        for _ in range(round(duration / TIME_STEP)):
            self.data.ctrl[:] = self._follower.advance(self.data.time, TIME_STEP)
            mujoco.mj_step(self.model, self.data)

    @property
    def time(self) -> float:
        """Seconds since the reset."""
        return self.data.time

    def joint_positions(self) -> np.ndarray:
        """Positions of ``JOINTS``, float64 (7,), rad and m."""
        return self.data.qpos[self._positions].copy()

    def joint_velocities(self) -> np.ndarray:
        """Velocities of ``JOINTS``, float64 (7,), rad/s and m/s."""
        return self.data.qvel[self._velocities].copy()

    def state(self) -> WorldState:
        """Return where everything is."""
        return WorldState(
            self.data.time, self.data.site_xpos[self._tool].copy(),
            float(self.data.qpos[self._positions[6]]),
            {color: self.data.body(color).xpos.copy() for color in self._present})

    def render(self) -> np.ndarray:
        """Draw what the camera sees, uint8 (size, size, 3) RGB."""
        if self._renderer is None:
            if os.environ.get('MUJOCO_GL') == 'disabled':
                raise cannot_draw('neither EGL nor OSMesa works')
            try:
                self._renderer = mujoco.Renderer(self.model, self.image_size, self.image_size)
            except (RuntimeError, AttributeError, ImportError) as error:
                raise cannot_draw(str(error)) from None
        self._renderer.update_scene(self.data, CAMERA)
        return self._renderer.render()

    def open_viewer(self) -> Any:
        """
        Open MuJoCo's own window, a context manager with a method ``sync``.

        :raises UnsupportedError: there is no display.
        """
        if sys.platform == 'linux' and not (os.environ.get('DISPLAY')
                                            or os.environ.get('WAYLAND_DISPLAY')):
            raise UnsupportedError('--viewer', 'there is no display here',
                                   'look at /camera/image_raw instead')
        import mujoco.viewer
        return mujoco.viewer.launch_passive(
            self.model, self.data, show_left_ui=False, show_right_ui=False)

    def camera_matrix(self) -> np.ndarray:
        """Return the camera's intrinsic matrix, float64 (3, 3), pixels."""
        focal = self.image_size / 2 / np.tan(np.radians(FIELD_OF_VIEW) / 2)
        middle = (self.image_size - 1) / 2
        return np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])

    def project(self, point: np.ndarray) -> np.ndarray:
        """Return a point's place in the image: float64 (2,), right and down, in [0, 1]."""
        camera = self.data.camera(CAMERA)
        x, y, z = camera.xmat.reshape(3, 3).T @ (point - camera.xpos)
        focal = 0.5 / np.tan(np.radians(FIELD_OF_VIEW) / 2)
        return np.array([0.5 + focal * x / -z, 0.5 + focal * y / z])

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _arrange(self, scene: Scene) -> None:
        """Place every block and distractor in its place, or out of sight."""
        self._present = tuple(color for color in COLORS if color in scene.blocks)
        bodies = dict(scene.blocks) | dict(zip(_DISTRACTORS, scene.distractors))
        for index, name in enumerate((*COLORS, *_DISTRACTORS)):
            address = self.model.joint(f'{name}_free').qposadr[0]
            body = bodies.get(name)
            self.model.body_gravcomp[self.model.body(name).id] = 0.0 if body else 1.0
            if body is None:
                self.data.qpos[address:address + 7] = [*_AWAY + [index, 0, 0], 1, 0, 0, 0]
                continue
            turn = [np.cos(body.yaw / 2), 0, 0, np.sin(body.yaw / 2)]
            self.data.qpos[address:address + 7] = [*body.position, *turn]
            self.model.geom(name).rgba[:3] = body.color

    def _apply_materials(self, scene: Scene) -> None:
        """Set light, table and camera."""
        model = self.model
        table = model.geom('table')
        table.matid[0] = model.material(f'table_{scene.table}').id
        model.mat_rgba[table.matid[0], :3] = scene.table_color
        for index in range(2):
            model.light_pos[index] = scene.light[index]
            direction = np.array([0.4, 0, 0]) - scene.light[index]
            model.light_dir[index] = direction / np.linalg.norm(direction)
            model.light_diffuse[index] = scene.brightness[index]
        model.vis.headlight.ambient[:] = scene.ambient
        camera = model.camera(CAMERA)
        camera.pos[:] = self._camera_position + scene.camera_shift
        turn, angle = np.zeros(4), np.linalg.norm(scene.camera_turn)
        mujoco.mju_axisAngle2Quat(turn, scene.camera_turn / angle, angle)
        mujoco.mju_mulQuat(camera.quat, turn, self._camera_rotation)


def _mjcf(robot: Robot, image_size: int) -> str:
    """Write the whole model."""
    back = _CAMERA_POSITION - _CAMERA_TARGET
    back /= np.linalg.norm(back)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    axes = ' '.join(f'{value:.6f}' for value in (*right, *np.cross(back, right)))
    position = ' '.join(map(str, _CAMERA_POSITION))
    half = BLOCK_SIZE / 2
    blocks = [_free_body(color, f'type="box" size="{half} {half} {half}"') for color in COLORS]
    blocks.append(_free_body('cylinder', f'type="cylinder" size="{half} {half}"'))
    blocks.append(_free_body('box', f'type="box" size="{half} {0.7 * half} {half}"'))
    arm = ''.join(f'<position joint="{name}" kp="4000" dampratio="1" '
                  f'forcerange="-{robot.joints[name].effort} {robot.joints[name].effort}"/>'
                  for name in JOINTS[:6])
    return f"""
<mujoco model="tabletop">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIME_STEP}" integrator="implicitfast" cone="elliptic" impratio="5"/>
  <visual>
    <quality shadowsize="0" offsamples="0"/>
    <global offwidth="{image_size}" offheight="{image_size}"/>
    <headlight diffuse="0.25 0.25 0.25" specular="0 0 0"/>
    <map znear="0.02" zfar="20"/>
  </visual>
  <asset>
    {_table_materials()}
  </asset>
  <worldbody>
    <light pos="0 0 2" castshadow="false" specular="0.1 0.1 0.1"/>
    <light pos="1 0 2" castshadow="false" specular="0 0 0"/>
    <camera name="{CAMERA}" pos="{position}" xyaxes="{axes}" fovy="{FIELD_OF_VIEW}"/>
    <geom name="table" type="box" pos="0.35 0 -0.02" size="0.55 0.6 0.02" material="table_0"
          friction="0.8 0.01 0.001"/>
    <geom type="plane" pos="0 0 -0.7" size="4 4 0.1" rgba="0.3 0.32 0.35 1" contype="0"
          conaffinity="0"/>
    {robot.mjcf_body()}
    {''.join(blocks)}
  </worldbody>
  <equality>
    <joint joint1="gripper_mirror" joint2="gripper" polycoef="0 1 0 0 0" solref="0.004 1"/>
  </equality>
  <contact><exclude body1="left_finger" body2="right_finger"/></contact>
  <actuator>
    {arm}
    <position joint="gripper" kp="900" kv="40"
              forcerange="-{robot.joints['gripper'].effort} {robot.joints['gripper'].effort}"/>
  </actuator>
</mujoco>"""


def _table_materials() -> str:
    """Write the materials of the table; their texture is gray and gets its tint from the scene."""
    looks = ('builtin="flat" rgb1="1 1 1"',
             'builtin="checker" rgb1="1 1 1" rgb2="0.82 0.82 0.82"',
             'builtin="checker" rgb1="1 1 1" rgb2="0.7 0.7 0.7" mark="edge" markrgb="0.6 0.6 0.6"',
             'builtin="flat" rgb1="1 1 1" mark="random" markrgb="0.6 0.6 0.6" random="0.04"',
             'builtin="gradient" rgb1="1 1 1" rgb2="0.65 0.65 0.65"')
    assert len(looks) == TABLES
    repeats = (1, 6, 14, 2, 1)
    return ''.join(
        f'<texture name="table_{index}" type="2d" width="128" height="128" {look}/>'
        f'<material name="table_{index}" texture="table_{index}" texrepeat="{repeat} {repeat}" '
        f'specular="0.1" shininess="0.1"/>'
        for index, (look, repeat) in enumerate(zip(looks, repeats)))


def _free_body(name: str, shape: str) -> str:
    return (f'<body name="{name}"><joint name="{name}_free" type="free" damping="0.0005"/>'
            f'<geom name="{name}" {shape} mass="0.05" friction="1.0 0.02 0.001" condim="4"/>'
            '</body>')
