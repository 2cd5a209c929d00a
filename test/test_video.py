# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Writing of videos: scheduling of threads, files, and errors of encoders."""

import os

import numpy as np
import pytest

pytest.importorskip('av', reason='PyAV is not installed: pip install -r requirements-train.txt')

from vla_ros.data.video import CODECS  # noqa: E402, I100
from vla_ros.data.video import VideoWriter  # noqa: E402
from vla_ros.errors import UnsupportedError  # noqa: E402


@pytest.mark.parametrize('codec', CODECS)
def test_writing_a_video_changes_no_scheduling_policy(tmp_path, codec):
    """As root, SVT-AV1 sets real-time scheduling, which later processes would inherit."""
    before = os.sched_getscheduler(0)
    video = VideoWriter(tmp_path / 'video.mp4', codec, 10.0, (64, 64))
    try:
        for _ in range(3):
            video.write(np.zeros((64, 64, 3), np.uint8))
            policies = {os.sched_getscheduler(int(one)) for one in os.listdir('/proc/self/task')}
            assert policies == {before}
    finally:
        video.close()
    assert os.sched_getscheduler(0) == before


@pytest.mark.parametrize('codec', CODECS)
def test_the_video_file_exists_before_the_first_packet(tmp_path, codec):
    """The writer reads its size after each episode, and an AV1 encoder is frames late."""
    path = tmp_path / 'new' / 'video.mp4'
    video = VideoWriter(path, codec, 10.0, (64, 64))
    try:
        assert path.stat().st_size >= 0
    finally:
        video.write(np.zeros((64, 64, 3), np.uint8))
        video.close()


def test_an_encoder_that_does_not_start_is_an_error_with_its_reason(tmp_path):
    # H.264 has no level for images of this size.
    with pytest.raises(UnsupportedError, match='cannot encode 20000x20000 images with libx264'):
        VideoWriter(tmp_path / 'video.mp4', 'h264', 10.0, (20000, 20000))
