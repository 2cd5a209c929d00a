# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A takeover with real processes is recorded, and its frames are tagged in the dataset."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')
pytest.importorskip('mcap_ros2', reason='mcap-ros2-support is not installed')
pytest.importorskip('pyarrow', reason='pyarrow is not installed')
pytest.importorskip('vla_ros_msgs', reason='vla_ros_msgs is not built')

from arm_harness import robot  # noqa: E402, I100
from record_harness import RecordProcess  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from teleop_harness import Teleoperator  # noqa: E402
from vla_ros.cli.dataset import main  # noqa: E402
from vla_ros.data.lerobot_dataset import LeRobotDataset  # noqa: E402
from vla_ros.recording.bag_reader import Bag  # noqa: E402


#: As config/contracts/tabletop.yaml, with limits of age for a busy machine.
CONTRACT = """
fps: 10
cameras:
- {name: camera, topic: /camera/image_raw, max_age: 5.0}
max_skew: 5.0
action:
  topic: /arm/joint_command
  names: [joint_1, joint_2, joint_3, joint_4, joint_5, joint_6, gripper]
  align: next
  max_age: 5.0
"""


def call_recorder(arm, recorder, decision):
    """Call one of the recorder's services."""
    response = arm.observer.call(Trigger, f'/vla_record/{decision}', Trigger.Request(), recorder)
    assert response.success, response.message


def record_a_takeover(folder):
    """Record the policy, a takeover that turns the first joint, and the policy again."""
    with robot(teleop__enabled='true', teleop__timeout='0.5') as (arm, _):
        contract = folder.with_name('contract.yaml')
        contract.write_text(CONTRACT)
        recorder = RecordProcess(arm.observer.context.get_domain_id(), folder, contract=contract)
        try:
            teleoperator = Teleoperator(arm)
            arm.wait_for('RUNNING')
            arm.observer.poll(lambda: arm.observer.node.count_subscribers('/vla/status') > 0
                              and arm.observer.node.count_subscribers('/joint_states') > 1,
                              'the recorder', recorder)
            call_recorder(arm, recorder, 'start')
            arm.wait_for_commands(150)
            teleoperator.take_over()
            end = teleoperator.go([0.3, 0.0, 0.0, 0.0, 0.0, 0.0])
            arm.observer.wait(lambda: np.abs(arm.vector() - end).max() < 1e-2, 'the goal',
                              arm.node)
            arm.wait_for_commands(50)
            teleoperator.release()
            assert teleoperator.resume().success
            arm.wait_for('RUNNING')
            arm.wait_for_commands(150)
            call_recorder(arm, recorder, 'success')
        finally:
            recorder.close()
    found, = (path for path in folder.iterdir() if path.is_dir())
    return found


def test_the_frames_of_a_takeover_are_tagged_in_the_dataset_of_its_bag(tmp_path, capsys):
    path = record_a_takeover(tmp_path / 'bags')
    bag = Bag(path)
    modes, commanded = [], []
    for sample in bag.samples():
        if sample.topic == '/vla/status':
            modes.append(bag.decode(sample).control_mode)
        if sample.topic == '/teleop/joint_command':
            commanded.append(bag.decode(sample))
    order = [mode for index, mode in enumerate(modes) if index == 0 or mode != modes[index - 1]]
    assert order == ['AUTONOMOUS', 'TAKEOVER', 'PAUSED', 'AUTONOMOUS']
    assert len(commanded) > 20
    assert main(['convert', str(path), '--out', str(tmp_path / 'out'), '--storage', 'images']) == 0
    dataset = LeRobotDataset(tmp_path / 'out')
    tags = dataset.interventions
    begin, end = np.flatnonzero(tags)[[0, -1]]
    assert 3 < begin and end < len(dataset) - 3 and tags[begin:end + 1].all()
    assert tags.sum() >= 5
    # The actions of these frames are those of the teleoperator, within the limits.
    turned = dataset.actions[:, 0]
    assert turned[end] - turned[begin] > 0.2
    capsys.readouterr()
    main(['check', str(path), str(tmp_path / 'out')])
    assert capsys.readouterr().out.count(f'{tags.sum()} of {len(tags)} frames, in 1 takeover') == 2
