# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The demo with real processes, real DDS and the real node; the expert replaces the model."""

import base64
import io
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys

from PIL import Image
import pytest

rclpy = pytest.importorskip('rclpy', reason='needs rclpy: the demo runs ROS nodes')
pytest.importorskip('vla_ros.worlds.world', reason='needs mujoco: the demo simulates an arm')
pytest.importorskip('vla_ros_msgs', reason='needs vla_ros_msgs: colcon build --base-paths . msg')

from domains import next_domain  # noqa: E402, I100
from vla_ros.worlds.robot import JOINTS  # noqa: E402

DEMO = Path(__file__).with_name('expert_demo.py')
LAYOUT = Path(__file__).parents[1] / 'config' / 'foxglove' / 'vla_ros.json'
TIMEOUT = 120


def start(folder, *command, domain=None):
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain or next_domain()),
                   'XDG_CACHE_HOME': str(folder), 'PYTHONUNBUFFERED': '1'}
    return subprocess.Popen([sys.executable, *command], env=environment, text=True,
                            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Run the demo; return the folder with its results, and its output."""
    folder = tmp_path_factory.mktemp('demo')
    process = start(folder, str(DEMO), str(folder / 'out'), str(folder / 'logs'))
    output, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, output + errors
    return folder / 'out', output


def children_of(process):
    """List the running processes whose parent this is, by id."""
    tasks = Path(f'/proc/{process.pid}/task/{process.pid}/children')
    return [int(number) for number in tasks.read_text().split()]


def is_running(number):
    try:
        return Path(f'/proc/{number}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def read(path):
    """Return the decoded messages of a recording, by topic."""
    reading = pytest.importorskip('mcap.reader')
    decoding = pytest.importorskip('mcap_ros2.decoder')
    found = {}
    with path.open('rb') as file:
        reader = reading.make_reader(file, decoder_factories=[decoding.DecoderFactory()])
        for _, channel, _, content in reader.iter_decoded_messages():
            found.setdefault(channel.topic, []).append(content)
    return found


def test_the_arm_follows_its_instructions_and_the_demo_reports_it(finished):
    _, output = finished
    # The line of either instruction; a short one may end before the next line is due.
    assert re.search(r'^ +\d+\.\d s  (reach the blue|pick up the green) block +\S.* Hz  '
                     r'age +\d+ ms  \d of \d done$', output, re.MULTILINE), output
    assert re.findall(r'^  done +(.*) \(\d+\.\d s\)$', output, re.MULTILINE) == [
        'reach the blue block', 'pick up the green block']
    assert 'vla_demo: 2 of 2 instructions fulfilled' in output
    assert re.search(r'age +p50 \d+ ms, p99 \d+ ms', output)


def test_the_report_is_one_self_contained_file(finished):
    report = (finished[0] / 'report.html').read_text(encoding='utf-8')
    assert report.count('<td class="yes">done</td>') == 2
    _, ages, joints = report.split('<svg')
    assert re.search(r'>p50 \d+ ms</text>', ages) and ages.count('<use') > 20
    assert all(f'>{name}</text>' in joints for name in JOINTS)
    assert not re.search(r'<script|<link|src="(?!data:)|url\((?!#)', report)
    animation = Image.open(io.BytesIO(base64.b64decode(
        re.search(r'src="data:image/webp;base64,([^"]+)"', report).group(1))))
    assert animation.n_frames > 10
    assert len(report) < 5e6


def test_the_recording_has_every_topic_and_field_of_the_foxglove_layout(finished):
    recorded = read(finished[0] / 'episode.mcap')
    shown = sorted(set(re.findall(r'"(/[\w/]+)((?:\.\w+(?:\[\d+\])?)*)"', LAYOUT.read_text())))
    assert len(shown) > 15
    for topic, fields in shown:
        value = recorded[topic][-1]
        for name, index in re.findall(r'\.(\w+)(?:\[(\d+)\])?', fields):
            value = getattr(value, name)
            value = value[int(index)] if index else value
    layout = json.loads(LAYOUT.read_text())
    panels = set(re.findall(r'"(\w+!\w+)"', json.dumps(layout['layout'])))
    assert panels == set(layout['configById'])


def test_the_recording_holds_images_links_commands_and_results(finished):
    recorded = read(finished[0] / 'episode.mcap')
    saved = Image.open(io.BytesIO(bytes(recorded['/camera/image_raw/compressed'][-1].data)))
    assert saved.size == (224, 224)
    links = recorded['/tf'][-1].transforms
    children = {link.child_frame_id for link in links}
    assert 'tool' in children and {link.header.frame_id for link in links} <= {
        'base_link', *children}
    # There are more commands than results, and results for both instructions.
    assert len(recorded['/arm/joint_command']) > len(recorded['/vla/action'])
    assert {result.instruction for result in recorded['/vla/action']} == {
        'reach the blue block', 'pick up the green block'}
    assert (finished[0] / 'episode.mcap').stat().st_size < 10e6


def test_a_signal_ends_every_process(tmp_path):
    process = start(tmp_path, str(DEMO), str(tmp_path / 'out'), str(tmp_path / 'logs'))
    for line in process.stdout:
        if line.startswith('instruction'):
            break
    children = children_of(process)
    assert len(children) == 2
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 128 + signal.SIGINT
    assert errors == ''
    assert not any(map(is_running, children))


def test_a_node_in_fault_is_reported_in_one_line(tmp_path):
    pytest.importorskip('torch', reason='needs torch: the real policy is to be loaded')
    process = start(tmp_path, '-m', 'vla_ros.cli.demo', '--checkpoint', str(tmp_path / 'absent'))
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 2
    assert errors.startswith('vla_demo: the inference node reports FAULT')
    assert 'absent: no such folder' in errors
    assert len(errors.splitlines()) == 1


def test_a_second_publisher_of_commands_is_refused(tmp_path):
    from rclpy.context import Context
    from sensor_msgs.msg import JointState
    domain = next_domain()
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node('driver', context=context)
    node.create_publisher(JointState, '/arm/joint_command', 1)
    process = start(tmp_path, str(DEMO), str(tmp_path / 'out'), str(tmp_path / 'logs'),
                    domain=domain)
    _, errors = process.communicate(timeout=TIMEOUT)
    node.destroy_node()
    rclpy.try_shutdown(context=context)
    assert process.returncode == 2
    assert errors.startswith('vla_demo: 2 nodes publish /arm/joint_command')
    assert 'set ROS_DOMAIN_ID' in errors


@pytest.mark.parametrize(('missing', 'program', 'remedy'), [
    ('rclpy', 'vla_ros.cli.demo', 'run ./scripts/setup'),
    ('mujoco', 'vla_ros.sim.node', '/requirements.txt')])
def test_a_missing_package_is_one_line(tmp_path, missing, program, remedy):
    script = (f'import sys; sys.modules["{missing}"] = None; sys.argv = ["it"]; '
              f'from {program} import main; sys.exit(main())')
    process = start(tmp_path, '-c', script)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 2
    assert remedy in errors
    assert len(errors.splitlines()) == 1
