# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Robot descriptions of a YAML file and a URDF, and refused ones."""

import arms
import numpy as np
import pytest
from vla_ros.robot.description import load_robot
from vla_ros.robot.description import RobotError
from vla_ros.robot.description import shipped_robots
import yaml


def urdf(names, limit='lower="-2.9" upper="2.9" velocity="3" effort="1"'):
    """Return a URDF of a chain of joints with these names."""
    joints = ''.join(f'<joint name="{name}" type="revolute"><parent link="l{index}"/>'
                     f'<child link="l{index + 1}"/><limit {limit}/></joint>'
                     for index, name in enumerate(names))
    links = ''.join(f'<link name="l{index}"/>' for index in range(len(names) + 1))
    return f'<robot name="x">{links}{joints}</robot>'


def write_robot(folder, **entries):
    """Write a robot description."""
    content = {'urdf': 'r.urdf', 'joints': ['a', 'b'], 'acceleration': [1.0, 1.0],
               'jerk': [1.0, 1.0], **entries}
    (folder / 'r.urdf').write_text(urdf(['a', 'b', 'hand']))
    path = folder / 'r.yaml'
    path.write_text(yaml.safe_dump({key: value for key, value in content.items()
                                    if value is not None}))
    return path


def test_the_simulated_arm_has_limits_of_urdf_and_file():
    robot = load_robot('six_axis_arm')
    assert robot.names == (*(f'joint_{index}' for index in range(1, 7)), 'gripper')
    assert robot.limits.velocity[0] == 2.6  # from the URDF
    assert robot.limits.velocity[6] == 0.15  # from the file, below the URDF's
    assert robot.grippers[0].position(0.5) == pytest.approx(0.02)


def test_files_for_drivers_need_the_urdf_that_the_driver_publishes():
    for name in ('ur5e', 'franka_fr3'):
        content = yaml.safe_load((shipped_robots() / f'{name}.yaml').read_text())
        grippers = [gripper['joint'] for gripper in content.get('grippers', [])]
        # The ranges contain the postures, as those of the real arms do.
        text = urdf(content['joints'] + grippers)
        robot = load_robot(name, text)
        assert robot.names == (*content['joints'], *grippers)
        with pytest.raises(RobotError, match='robot_description'):
            load_robot(name)


def test_a_file_narrows_the_limits_of_the_urdf(tmp_path):
    robot = load_robot(write_robot(tmp_path, velocity=[1.0, float('nan')], upper=[0.5, 2.0]))
    assert robot.limits.velocity.tolist() == [1.0, 3.0]
    assert robot.limits.upper.tolist() == [0.5, 2.0]
    assert robot.limits.lower.tolist() == [-2.9, -2.9]


@pytest.mark.parametrize('entries, message', [
    ({'velocity': [4.0, 1.0]}, 'not wider than'), ({'velocity': [1.0]}, 'a list of 2 numbers'),
    ({'velocity': [1.0, 2.0, 3.0]}, 'a list of 2 numbers'), ({'velocity': 3.0}, 'a list of 2'),
    ({'velocity': [0.0, 1.0]}, 'above zero'), ({'lower': [0.0, 'x']}, 'lower'),
    ({'lower': [3.0, 0.0]}, 'below limits.upper'), ({'jerk': None}, 'no jerk limit of a, b'),
    ({'jerk': [1.0, float('inf')]}, 'finite'), ({'joints': ['a', 'c']}, 'no moving joint c'),
    ({'joints': ['a', 'a']}, 'none twice'), ({'joints': None}, 'joints'),
    ({'colour': 'red'}, 'unknown entries colour'), ({'posture': [9.0, 0.0]}, 'posture'),
    ({'workspace': {'lower': [0, 0, 1], 'upper': [1, 1, 0]}}, 'lower corner'),
    ({'workspace': {'lower': [0, 0]}}, 'workspace.lower'),
    ({'grippers': [{'joint': 'hand', 'open': 1.0, 'closed': 1.0}]}, 'two different positions'),
    ({'grippers': [{'joint': 'hand', 'open': 9.0, 'closed': 1.0, 'acceleration': 1.0,
                    'jerk': 1.0}]}, 'within the limits'),
    ({'urdf': 'no.urdf'}, 'no.urdf'), ({'urdf': 'x.urdf.xacro'}, 'xacro'),
    ({'urdf': 'package://no_such_package/x.urdf'}, 'not installed'), ({'urdf': None}, 'urdf')])
def test_an_invalid_entry_is_refused_with_the_file(tmp_path, entries, message):
    path = write_robot(tmp_path, **entries)
    with pytest.raises(RobotError, match='r.yaml') as refused:
        load_robot(path)
    assert message in str(refused.value)


def test_an_invalid_urdf_is_refused(tmp_path):
    path = write_robot(tmp_path)
    with pytest.raises(RobotError, match='limits a by'):
        load_robot(path, urdf(['a', 'b'], 'lower="x" upper="1" velocity="1"'))
    with pytest.raises(RobotError, match='no XML'):
        load_robot(path, '<robot')
    with pytest.raises(RobotError, match='no such|No such'):
        load_robot('no_such_robot')


def test_arms_of_the_tests_have_their_published_dimensions():
    pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
    from vla_ros.motion.kinematics import Kinematics
    stretched = Kinematics(arms.ur5e()).pose(np.zeros(6)).position
    assert abs(stretched[0]) == pytest.approx(0.425 + 0.3922)
    franka = arms.franka()
    upright = np.zeros(7)
    # With all joints at zero the flange is 88 mm in front, at 0.333 + 0.316 + 0.384 - 0.107 m.
    assert Kinematics(franka).pose(upright).position == pytest.approx([0.088, 0.0, 0.926])


#: An arm on wheels, with a hand of which one finger mimics the other, in the style of tools.
MOBILE = """<?xml version='1.0'?>
<robot name='mobile'>
 <link name='base'/><link name='l1'/><link name='l2'/><link name='w'/><link name='f1'/>
 <link name='f2'/><link name='floating'/>
 <joint type='continuous' name='wheel'><parent link='base'/><child link='w'/></joint>
 <joint  type = {kind}  name='a'><parent link='base'/><child link='l1'/>{limit}
  <axis xyz='0 0 1'/></joint>
 <joint name='b' type="revolute"><parent link='l1'/><child link='l2'/>
  <origin xyz='0.5 0 0'/><axis xyz='0 0 1'/><limit lower='-1' upper='1' velocity='1' effort='1'/>
 </joint>
 <joint name='hand' type='prismatic'><parent link='l2'/><child link='f1'/>
  <limit lower='0' upper='0.04' velocity='0.1' effort='1'/></joint>
 <joint name='finger' type='prismatic'><parent link='l2'/><child link='f2'/>
  <limit lower='x' upper='${{width}}' velocity='0.1' effort='1'/><mimic joint='hand'/></joint>
 <joint name='free' type='floating'><parent link='w'/><child link='floating'/></joint>
 <transmission name='t'><joint name='a' type='revolute'><limit lower='9'/></joint></transmission>
</robot>"""


@pytest.mark.parametrize('kind', ["'continuous'", '"continuous"', "'revolute'"])
@pytest.mark.parametrize('limit', ['', "<limit effort='1' velocity='2'/>",
                                   '<limit effort="1" velocity="2" lower="-3" upper="3"/>'])
def test_joints_that_are_not_the_arms_are_ignored(tmp_path, kind, limit):
    """The URDF has wheels, a mimic finger with invalid limits, and a continuous joint."""
    pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
    from vla_ros.motion.kinematics import Kinematics
    path = tmp_path / 'r.yaml'
    path.write_text(yaml.safe_dump({
        'base_frame': 'base', 'tip_frame': 'l2', 'joints': ['a', 'b'], 'lower': [-3.0, -1.0],
        'upper': [3.0, 1.0], 'velocity': [1.0, 1.0], 'acceleration': [5.0, 5.0],
        'jerk': [50.0, 50.0], 'grippers': [{'joint': 'hand', 'open': 0.04, 'closed': 0.0,
                                            'acceleration': 1.0, 'jerk': 10.0}]}))
    robot = load_robot(path, MOBILE.format(kind=kind, limit=limit))
    assert robot.limits.lower.tolist() == [-3.0, -1.0, 0.0]
    kinematics = Kinematics(robot)
    pose = kinematics.pose(np.array([np.pi / 2, 0.0]))
    np.testing.assert_allclose(pose.position, [0.0, 0.5, 0.0], atol=1e-12)
    assert kinematics.solve(pose, np.array([1.2, 0.0])) == pytest.approx([np.pi / 2, 0.0],
                                                                         abs=1e-2)
