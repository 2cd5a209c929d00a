# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_dataset check`` reports each fault of a bag, and none ends in a traceback."""

import math

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('mcap_ros2', reason='mcap-ros2-support is not installed')
pytest.importorskip('pyarrow', reason='pyarrow is not installed')
pytest.importorskip('vla_ros_msgs', reason='vla_ros_msgs is not built')
from bag_maker import COMMAND  # noqa: E402, I100
from bag_maker import FRONT  # noqa: E402
from bag_maker import STATE  # noqa: E402
from bag_maker import WRIST  # noqa: E402
from bag_maker import write_bag  # noqa: E402
from vla_ros.cli.dataset import main  # noqa: E402


def check(path, capsys, *words):
    """Check a bag; return the exit status and the findings."""
    status = main(['check', str(path), *words])
    out = capsys.readouterr().out
    return status, [line.strip() for line in out.splitlines()
                    if line.strip().startswith(('error: ', 'warning: '))]


def test_a_valid_bag_has_no_findings_and_its_images_are_in_the_report(tmp_path, capsys):
    bag = write_bag(tmp_path / 'bag', results=True)
    page = tmp_path / 'page.html'
    assert main(['check', str(bag), '--html', str(page)]) == 0
    out = capsys.readouterr().out
    assert out.startswith('bag: good\n')
    assert 'observations of the node are those of the dataset' in out
    html = page.read_text()
    assert html.count('<img src="data:image/jpeg;base64,') == 12
    assert 'joint_1' in html and '<polyline' in html


def no_front_images(topic, seconds, arrival, stamp, value):
    return None if topic == FRONT else (arrival, stamp, value)


def dead_wrist_camera(topic, seconds, arrival, stamp, value):
    return None if topic == WRIST and seconds > 1.5 else (arrival, stamp, value)


def dead_front_camera(topic, seconds, arrival, stamp, value):
    return None if topic == FRONT and seconds > 1.5 else (arrival, stamp, value)


def gap_of_images(topic, seconds, arrival, stamp, value):
    return None if topic == FRONT and 1.0 < seconds < 1.5 else (arrival, stamp, value)


def nan_action(topic, seconds, arrival, stamp, value):
    if topic == COMMAND and 1.0 < seconds < 1.2:
        value = [math.nan, value[1]]
    return arrival, stamp, value


def clock_set_back(topic, seconds, arrival, stamp, value):
    back = 500_000_000 if seconds > 1.5 else 0
    return arrival - back, stamp - back, value


def late_commands(topic, seconds, arrival, stamp, value):
    # A command has the stamp of an earlier image; in a hold it has the present time.
    return arrival, stamp - 200_000_000 if topic == COMMAND and seconds > 1.5 else stamp, value


def state_just_beyond_limit(topic, seconds, arrival, stamp, value):
    return arrival, stamp, [value[0], value[1] - 1e-3] if topic == STATE else value


def frozen_camera(topic, seconds, arrival, stamp, value):
    return arrival, stamp, 40 if topic == FRONT and seconds > 1.3 else value


def frozen_at_rest(topic, seconds, arrival, stamp, value):
    if topic in (COMMAND, STATE) and seconds > 1.2:
        value = [0.1, 0.02]
    return frozen_camera(topic, seconds, arrival, stamp, value)


def skewed_cameras(topic, seconds, arrival, stamp, value):
    return None if topic == WRIST and value % 3 else (arrival, stamp, value)


def constant_action(topic, seconds, arrival, stamp, value):
    return arrival, stamp, [0.1, 0.02] if topic in (COMMAND, STATE) else value


def jumping_action(topic, seconds, arrival, stamp, value):
    if topic == COMMAND and 1.0 <= seconds < 1.1:
        value = [value[0] + 2.0, value[1]]
    return arrival, stamp, value


def no_state(topic, seconds, arrival, stamp, value):
    return None if topic == STATE else (arrival, stamp, value)


def slow_camera(topic, seconds, arrival, stamp, value):
    return None if topic == FRONT and value % 6 else (arrival, stamp, value)


def write_robot(folder, limit):
    """Write the description of the bags' arm; its first joint has this limit, in rad."""
    robot = folder / 'robot.yaml'
    (folder / 'robot.urdf').write_text(
        '<robot name="r"><link name="a"/><link name="b"/><link name="c"/>'
        '<joint name="joint_1" type="revolute"><parent link="a"/><child link="b"/>'
        f'<axis xyz="0 0 1"/><limit lower="-{limit}" upper="{limit}" velocity="1" effort="1"/>'
        '</joint>'
        '<joint name="gripper" type="prismatic"><parent link="b"/><child link="c"/>'
        '<axis xyz="0 0 1"/><limit lower="0" upper="0.1" velocity="1" effort="1"/></joint>'
        '</robot>')
    robot.write_text('urdf: robot.urdf\nbase_frame: a\ntip_frame: b\njoints: [joint_1, gripper]\n'
                     'acceleration: [1, 1]\njerk: [10, 10]\n')
    return robot


@pytest.mark.parametrize(('change', 'status', 'finding'), [
    (no_front_images, 1, 'error: empty: .* it has no complete frame'),
    (no_front_images, 1, f'error: missing-stream: nothing on {FRONT}'),
    (dead_wrist_camera, 1, f'error: dead-stream: {WRIST} falls silent 1.5 s before the end'),
    (dead_front_camera, 1, f'error: dead-stream: {FRONT} falls silent 1.5 s before the end'),
    (gap_of_images, 1, f'warning: gap: {FRONT} has a gap of 0.5'),
    (gap_of_images, 1,
     'error: gap: frame .* comes 0.* s after the one before, 0.100 s are expected'),
    (nan_action, 1, 'error: incomplete: .* the action on /arm/joint_command is .nan'),
    (clock_set_back, 1, f'error: clock: the clock was set back 1 times while {STATE}'),
    (clock_set_back, 1, f'error: clock: 1 stamps on {FRONT} are before the one'),
    (frozen_camera, 1, f'error: frozen: the images on {FRONT} repeat for up to 1.6'),
    (frozen_at_rest, 0, 'warning: still: .* ends with|warning: jump'),
    (skewed_cameras, 1,
     'error: empty: .* the images of an observation are 0.0.* s apart, max_skew'),
    (constant_action, 0, 'warning: still: the action does not change in the whole episode'),
    (jumping_action, 0, 'warning: jump: action joint_1 jumps by 2'),
    (no_state, 1, f'error: missing-stream: nothing on {STATE}'),
    (slow_camera, 1, f'error: rate: {FRONT} brings 5.0 images a second, the contract wants 10')])
def test_a_fault_of_a_bag_is_reported(tmp_path, capsys, change, status, finding):
    import re
    found_status, findings = check(write_bag(tmp_path / 'bag', change=change), capsys)
    assert any(re.match(finding, line) for line in findings), findings
    assert found_status == status


@pytest.mark.parametrize('change', [late_commands, state_just_beyond_limit])
def test_holds_and_positions_just_beyond_a_limit_are_no_errors(tmp_path, capsys, change):
    bag = write_bag(tmp_path / 'bag', change=change)
    status, findings = check(bag, capsys, '--robot', str(write_robot(tmp_path, 0.6)))
    assert status == 0, findings


def test_observations_of_messages_before_the_recording_are_no_parity_errors(tmp_path, capsys):
    def late(topic, seconds, arrival, stamp, value):
        return None if topic == STATE and seconds < 0.15 else (arrival, stamp, value)
    status, findings = check(write_bag(tmp_path / 'bag', results=True, change=late), capsys)
    assert status == 0 and not any('parity' in line for line in findings), findings


def test_a_policy_result_that_is_not_finite_is_reported(tmp_path, capsys):
    status, findings = check(write_bag(tmp_path / 'bag', results=30), capsys)
    assert status == 1
    assert findings == ['error: not-finite: 1 actions on /vla/action are not finite']


def test_an_episode_without_messages_or_instruction_is_reported(tmp_path, capsys):
    def all_gone(topic, seconds, arrival, stamp, value):
        return None
    status, findings = check(write_bag(tmp_path / 'empty', change=all_gone), capsys)
    assert status == 1 and any('it has no complete frame' in line for line in findings)
    status, findings = check(write_bag(tmp_path / 'mute', instruction=''), capsys)
    assert status == 1
    assert any(line.startswith('error: missing-instruction') for line in findings), findings
    assert check(tmp_path / 'mute', capsys, '--instruction', 'wave')[0] == 0


def test_an_early_end_and_lost_messages_are_reported(tmp_path, capsys):
    bag = write_bag(tmp_path / 'full', metadata={'ended_by': 'disk full: no space', 'counts': (
        '{"/front/image_raw": {"lost": "3", "dropped": "2"}}')})
    status, findings = check(bag, capsys)
    assert status == 0
    assert findings == ['warning: unfinished: the episode ended by itself: disk full: no space',
                        'warning: lost: 3 messages on /front/image_raw were lost on their way to '
                        'the recorder', 'warning: dropped: 2 messages on /front/image_raw were '
                        'dropped by the recorder']


@pytest.mark.parametrize('share', [0.2, 0.5, 0.9])
def test_a_truncated_bag_is_read_and_reported(tmp_path, capsys, share):
    bag = write_bag(tmp_path / 'bag')
    file, = bag.glob('*.mcap')
    content = file.read_bytes()
    file.write_bytes(content[:int(share * len(content))])
    status, findings = check(bag, capsys)
    assert any(line.startswith('warning: unfinished: the bag was cut short') for line in findings)
    assert status in (0, 1)


def test_actions_beyond_the_limits_of_the_given_robot_are_reported(tmp_path, capsys):
    robot = write_robot(tmp_path, 0.3)
    bag = write_bag(tmp_path / 'bag')
    assert check(bag, capsys)[0] == 0
    status, findings = check(bag, capsys, '--robot', str(robot))
    assert status == 1
    assert any(line.startswith('error: limits: action joint_1 is 0.3') for line in findings), \
        findings


@pytest.mark.parametrize('content', [b'', b'nothing of that kind', b'\x89MCAP0\r\n'])
def test_a_file_that_is_no_bag_is_one_line(tmp_path, capsys, content):
    path = tmp_path / 'x.mcap'
    path.write_bytes(content)
    assert main(['check', str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == '' and captured.err.count('\n') == 1
    assert main(['check', str(tmp_path / 'nowhere')]) == 2
    assert 'there is no such file or folder' in capsys.readouterr().err
