# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Frames through shared memory: unchanged, newest first, robust to a killed process."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from vla_ros.camera.iceoryx2 import FrameReceiver
from vla_ros.camera.iceoryx2 import Iceoryx2Camera
from vla_ros.errors import ImageError
from vla_ros.errors import UnsupportedError

pytest.importorskip('iceoryx2')

DEADLINE = 10.0


class Inbox:
    """Receives frames, and lets a test wait for them."""

    def __init__(self, topic):
        self.frames = []
        self._changed = threading.Condition()
        self._receiver = FrameReceiver(topic, self._take)

    def _take(self, frame):
        with self._changed:
            self.frames.append(frame)
            self._changed.notify_all()

    def wait_for(self, sequence):
        """Wait for a frame; return the newest."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: self.frames and self.frames[-1].sequence >= sequence, DEADLINE)
            return self.frames.pop()

    def close(self):
        self._receiver.stop()


@pytest.fixture
def topic(request):
    return f'/test_{request.node.name}_{os.getpid()}'


@pytest.fixture
def inbox(topic):
    inbox = Inbox(topic)
    yield inbox
    inbox.close()


def test_a_frame_arrives_with_stamp_size_and_encoding(topic, inbox):
    camera = Iceoryx2Camera(topic, max_bytes=5 * 7 * 4)
    image = np.arange(5 * 7 * 4, dtype=np.uint8).reshape(5, 7, 4)
    camera.publish(image, 'bgra8', 'wrist', stamp=1_234_567_890_123_456_789)
    frame = inbox.wait_for(0)
    assert (frame.height, frame.width, frame.step, frame.encoding) == (5, 7, 28, 'bgra8')
    assert (frame.frame_id, frame.stamp) == ('wrist', 1_234_567_890_123_456_789)
    assert np.array_equal(frame.data.reshape(image.shape), image)


def test_a_received_frame_cannot_be_written_to(topic, inbox):
    camera = Iceoryx2Camera(topic, 3)
    camera.publish(np.zeros((1, 1, 3), np.uint8))
    data = inbox.wait_for(0).data
    with pytest.raises(ValueError, match='read-only'):
        data[0] = 1
    with pytest.raises(ValueError, match='WRITEABLE'):
        data.flags.writeable = True


def test_the_memory_of_a_kept_view_is_not_reused(topic, inbox):
    camera = Iceoryx2Camera(topic, 300)
    camera.publish(np.full((10, 10, 3), 7, np.uint8))
    view = inbox.wait_for(0).data.reshape(10, 10, 3)[::2, 0]  # all that is kept of the frame
    for number in range(1, 30):
        camera.publish(np.full((10, 10, 3), 100 + number, np.uint8))
        inbox.wait_for(number)
    assert (view == 7).all()


def test_a_subscriber_that_keeps_all_buffers_gets_frames_again_once_it_drops_some(topic, inbox):
    camera = Iceoryx2Camera(topic, 3)
    kept = []
    for number in range(3):
        camera.publish(np.full((1, 1, 3), number, np.uint8))
        kept.append(inbox.wait_for(number))
    camera.publish(np.full((1, 1, 3), 3, np.uint8))  # is lost, or waits: nothing is overwritten
    assert [frame.data[0] for frame in kept] == [0, 1, 2]
    kept.clear()
    camera.publish(np.full((1, 1, 3), 4, np.uint8))
    assert inbox.wait_for(4).data[0] == 4


def test_the_newest_frame_replaces_waiting_ones(topic):
    entered, go_on, sequences = threading.Event(), threading.Event(), []

    def take(frame):
        sequences.append(frame.sequence)
        entered.set()
        go_on.wait(DEADLINE)
    receiver = FrameReceiver(topic, take)
    camera = Iceoryx2Camera(topic, 3)
    pixel = np.zeros((1, 1, 3), np.uint8)
    camera.publish(pixel)
    assert entered.wait(DEADLINE)
    entered.clear()
    for _ in range(10):
        camera.publish(pixel)
    go_on.set()
    assert entered.wait(DEADLINE)
    receiver.stop()
    assert sequences == [0, 10]


def test_an_unfinished_frame_is_not_sent(topic, inbox):
    camera = Iceoryx2Camera(topic, 3)
    with pytest.raises(RuntimeError), camera.frame(1, 1):
        raise RuntimeError('the sensor failed')
    camera.publish(np.full((1, 1, 3), 9, np.uint8))
    assert inbox.wait_for(0).data[0] == 9


@pytest.mark.parametrize('size, encoding, problem', [
    ((2, 2), 'rgb8', 'room is for 1 to 11'), ((0, 2), 'rgb8', 'room'), ((1, 1), 'yuv', 'one of')])
def test_a_frame_that_does_not_fit_is_refused(topic, size, encoding, problem):
    camera = Iceoryx2Camera(topic, 11)
    with pytest.raises(ImageError, match=problem), camera.frame(*size, encoding):
        pass


def test_a_second_camera_on_a_topic_is_refused(topic):
    first = Iceoryx2Camera(topic, 3)
    with pytest.raises(UnsupportedError, match='another camera'):
        Iceoryx2Camera(topic, 3)
    del first


def test_the_error_without_iceoryx2_names_the_package_to_install():
    code = ('import sys; sys.modules["iceoryx2"] = None\n'
            'from vla_ros.camera.iceoryx2 import Iceoryx2Camera\nIceoryx2Camera()')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'pip install iceoryx2' in done.stderr.splitlines()[-1]


def test_both_sides_survive_the_other_being_killed(topic):
    survival = pytest.importorskip('iceoryx2_survival')
    survival.clean_up()
    before = survival.shared_bytes()
    seconds = survival.survive(3, topic)
    # With the time that two interpreters take to start on a busy machine.
    assert max(seconds['send'] + seconds['receive']) < 20.0
    survival.clean_up()
    assert survival.shared_bytes() <= before
