# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_record`` over real DDS: recorded messages, interrupts, kills and full disks."""

import json
from pathlib import Path
import signal
import threading

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('mcap_ros2', reason='mcap-ros2-support is not installed')
from node_harness import DEADLINE  # noqa: E402, I100
from rclpy.serialization import serialize_message  # noqa: E402
from record_harness import call  # noqa: E402
from record_harness import recording  # noqa: E402
from record_harness import wait_until  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from vla_ros.data.contract import load_contract  # noqa: E402
from vla_ros.data.contract import read_contract  # noqa: E402
from vla_ros.recording.bag_reader import Bag  # noqa: E402
from vla_ros.recording.bag_writer import BagWriter  # noqa: E402
from vla_ros.recording.bag_writer import RecordedTopic  # noqa: E402
from vla_ros.recording.check_bag import check_bag  # noqa: E402
from vla_ros.recording.episode_recorder import EpisodeRecorder  # noqa: E402
from vla_ros.recording.findings import Limits  # noqa: E402
from vla_ros.recording.message_definitions import definition  # noqa: E402
import yaml  # noqa: E402


def counts_of(bag):
    """Count the messages of a bag by topic."""
    counts = {}
    for sample in bag.samples():
        counts[sample.topic] = counts.get(sample.topic, 0) + 1
    return counts


def metadata_yaml(folder):
    """Read the metadata file of rosbag2."""
    text = (folder / 'metadata.yaml').read_text()
    return yaml.safe_load(text)['rosbag2_bagfile_information']


def test_an_episode_is_a_bag_with_all_messages_and_its_metadata(tmp_path):
    with recording(tmp_path) as (process, robot):
        robot.instructions.publish(String(data='pick up the red block'))
        robot.run(3)  # before the episode, so it is not in the bag
        first = robot.steps + 1
        started = call(robot, process, 'start')
        assert started.success, started.message
        robot.run(30)
        ended = call(robot, process, 'success')
        assert ended.success, ended.message
        refused = call(robot, process, 'stop')
        assert not refused.success and 'start one first' in refused.message
        assert process.end() == 0
    folder, = (path for path in tmp_path.iterdir() if path.is_dir())
    bag = Bag(folder)
    counts = counts_of(bag)
    assert bag.is_complete
    assert {'/camera/image_raw': 30, '/joint_states': 30,
            '/arm/joint_command': 30}.items() <= counts.items()
    assert bag.metadata['outcome'] == 'success'
    assert bag.metadata['instruction'] == 'pick up the red block'
    assert read_contract(bag.metadata['contract'], 'bag') == load_contract('tabletop')
    recorded_counts = json.loads(bag.metadata['counts'])
    assert recorded_counts['/camera/image_raw']['messages'] == '30'
    assert recorded_counts['/camera/image_raw']['lost'] == '0'
    assert recorded_counts['/camera/image_raw']['dropped'] == '0'
    images = [bag.decode(sample) for sample in bag.samples()
              if sample.topic == '/camera/image_raw']
    assert [image.data[0] for image in images] == list(range(first, first + 30))
    metadata = metadata_yaml(folder)
    assert metadata['message_count'] == sum(counts.values())
    assert metadata['custom_data']['outcome'] == 'success'
    assert not (folder / '.space_for_the_index').exists()


def test_rosbags_reads_a_recorded_bag(tmp_path):
    rosbags = pytest.importorskip('rosbags.rosbag2', reason='rosbags is not installed')
    from rosbags.typesys import get_typestore
    from rosbags.typesys import Stores
    with recording(tmp_path) as (process, robot):
        process.write('start')
        process.wait_for('start: ')
        first = robot.steps + 1
        robot.run(5)
        process.write('failure')
        process.wait_for('failure: ')
        process.write('quit')
        assert process.wait() == 0
    folder, = tmp_path.iterdir()
    types = get_typestore(Stores.ROS2_HUMBLE)
    with rosbags.Reader(folder) as reader:
        found = [types.deserialize_cdr(data, connection.msgtype)
                 for connection, _, data in reader.messages()
                 if connection.topic == '/joint_states']
    assert [message.position[0] for message in found] == [
        0.01 * step for step in range(first, first + 5)]


def test_a_bag_of_a_killed_recorder_is_completed_at_the_next_start(tmp_path):
    with recording(tmp_path) as (process, robot):
        process.write('start')
        folder = Path(process.wait_for(r'start: (\S+)')[1])
        robot.run(40)
        wait_until(lambda: counts_of(Bag(folder)).get('/camera/image_raw', 0) >= 40,
                   'the images in the file')
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
        cut = Bag(folder)
        assert not cut.is_complete
        before = counts_of(cut)
        assert before['/camera/image_raw'] == before['/joint_states'] == 40
        assert cut.metadata['outcome'] == 'recording'
        assert metadata_yaml(folder)['custom_data']['outcome'] == 'recording'
        text = finding_text(folder, 'unfinished')
        assert 'the bag was cut short (its recorder was killed?)' in text
    with recording(tmp_path) as (process, robot):
        wait_until(lambda: Bag(folder).is_complete, 'the index')
        assert process.end() == 0
    whole = Bag(folder)
    assert counts_of(whole) == before
    assert whole.metadata['ended_by'] == 'its recorder was killed'
    assert metadata_yaml(folder)['message_count'] == sum(before.values())
    from mcap.reader import make_reader
    with whole.file.open('rb') as stream:
        reader = make_reader(stream, validate_crcs=True)
        assert reader.get_summary().statistics.message_count == sum(before.values())
        assert len(list(reader.iter_messages())) == sum(before.values())


def test_another_recorder_does_not_touch_a_bag_that_is_being_written(tmp_path):
    with recording(tmp_path) as (process, robot):
        process.write('start')
        folder = Path(process.wait_for(r'start: (\S+)')[1])
        with recording(tmp_path) as (other, _):
            assert other.end() == 0
        robot.run(5)
        process.write('stop')
        process.wait_for('stop: ')
        assert process.end() == 0
    bag = Bag(folder)
    assert bag.metadata['outcome'] == 'unmarked'
    assert counts_of(bag)['/camera/image_raw'] == 5


def test_a_discarded_episode_is_deleted_and_an_interrupt_ends_the_episode(tmp_path):
    with recording(tmp_path) as (process, robot):
        assert not call(robot, process, 'discard').success
        process.write('start')
        first = Path(process.wait_for(r'start: (\S+)')[1])
        robot.run(2)
        assert call(robot, process, 'discard').success
        assert not first.exists()
        assert call(robot, process, 'start').success
        robot.run(4)
        assert process.end(signal.SIGTERM) == 0
    folder, = tmp_path.iterdir()
    assert counts_of(Bag(folder))['/camera/image_raw'] == 4


def test_an_episode_can_be_marked_after_it_was_stopped(tmp_path):
    with recording(tmp_path) as (process, robot):
        assert call(robot, process, 'start').success
        robot.run(4)
        assert call(robot, process, 'stop').success
        assert call(robot, process, 'failure').success
        assert process.end() == 0
    folder, = tmp_path.iterdir()
    bag = Bag(folder)
    assert bag.metadata['outcome'] == metadata_yaml(folder)['custom_data']['outcome'] == 'failure'
    assert counts_of(bag)['/camera/image_raw'] == 4


def test_a_file_size_limit_ends_the_episode_with_a_complete_bag(tmp_path):
    # A limit of the process on the size of a file: every write beyond it fails, as on a full disk.
    launcher = ('bash', '-c', 'ulimit -f 8192; exec "$@"', 'bash')
    with recording(tmp_path, launcher=launcher) as (process, robot):
        process.write('start')
        folder = Path(process.wait_for(r'start: (\S+)')[1])
        robot.run(30, size=(480, 640))
        process.wait_for('ended by itself: disk full')
        assert not call(robot, process, 'stop').success
        assert process.end() == 0
    check_complete(folder)


def test_a_full_file_system_ends_the_episode_with_a_complete_bag(tmp_path):
    import subprocess
    small = tmp_path / 'small'
    small.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', str(small)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip('mount is not installed')
    if done.returncode:
        pytest.skip(f'no file system can be mounted here: {done.stderr.strip()}')
    try:
        with recording(small, **{'disk.reserve_mb': 0.0}) as (process, robot):
            process.write('start')
            folder = Path(process.wait_for(r'start: (\S+)')[1])
            robot.run(60, size=(480, 640))
            process.wait_for('ended by itself: disk full')
            assert process.end() == 0
        check_complete(folder)
    finally:
        subprocess.run(['umount', str(small)], check=True)


def test_messages_after_the_end_do_not_count_as_dropped(tmp_path, monkeypatch):
    writes, may_write, write = threading.Event(), threading.Event(), BagWriter.write

    def wait(self, *arguments):
        writes.set()
        assert may_write.wait(DEADLINE)
        write(self, *arguments)
    monkeypatch.setattr(BagWriter, 'write', wait)
    topic, kind = '/spoken', 'std_msgs/msg/String'
    recorder = EpisodeRecorder(tmp_path, {topic: kind}, 'none', 10**6, 0, 0.5, print)
    bag = recorder.start([RecordedTopic(topic, kind, definition('std_msgs', 'String'), '')], {})
    message = bytes(serialize_message(String(data='here')))
    recorder.take(topic, message, 1, 1)
    assert writes.wait(DEADLINE)
    end = threading.Thread(target=recorder.stop, args=('success', {}))
    end.start()
    wait_until(lambda: not recorder.is_recording, 'the end')
    recorder.take(topic, message, 2, 2)
    may_write.set()
    end.join()
    recorded_counts = json.loads(Bag(bag).metadata['counts'])[topic]
    assert (recorded_counts['messages'], recorded_counts['dropped']) == ('1', '0')


def finding_text(folder, name):
    """Return the text of a finding in the check of a bag."""
    report = check_bag(folder, Limits(), has_images=False)
    return next(finding.text for finding in report.findings if finding.name == name)


def check_complete(folder):
    """Check that the bag of a full disk has all written messages and the reason of its end."""
    bag = Bag(folder)
    assert bag.is_complete
    assert bag.metadata['ended_by'].startswith('disk full')
    assert 'the episode ended by itself: disk full' in finding_text(folder, 'unfinished')
    counts = counts_of(bag)
    assert counts['/camera/image_raw'] >= 4
    assert metadata_yaml(folder)['message_count'] == sum(counts.values())
    recorded_counts = json.loads(bag.metadata['counts'])
    for topic in ('/camera/image_raw', '/joint_states'):
        assert int(recorded_counts[topic]['messages']) == counts.get(topic, 0) + int(
            recorded_counts[topic]['dropped'])


@pytest.mark.parametrize(('parameters', 'message'), [
    ({'contract': 'nothing'}, "contract 'nothing': it is no file, .* ship: tabletop"),
    ({'compression': 'rar'}, "got 'rar', it must be one of none, lz4, zstd"),
    ({'topics': '["/tf"]'}, "topics: got '/tf', it must be like"),
    ({'topics': '["/tf=nobody_msgs/msg/Tf"]'}, 'install the package nobody_msgs')])
def test_an_invalid_parameter_is_one_line(tmp_path, parameters, message):
    from domains import next_domain
    from record_harness import RecordProcess
    process = RecordProcess(next_domain(), tmp_path, **parameters)
    try:
        assert process.wait() == 2
        line, = process.lines
        process.wait_for(message)
        assert line.startswith('vla_record: ')
    finally:
        process.close()
