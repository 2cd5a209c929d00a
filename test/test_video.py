# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Writing a video leaves the process as it was."""

import os

import numpy as np
import pytest

pytest.importorskip('av', reason='PyAV is not installed: pip install -r requirements-train.txt')

from vla_ros.data.video import CODECS  # noqa: E402, I100
from vla_ros.data.video import VideoWriter  # noqa: E402


@pytest.mark.parametrize('codec', CODECS)
def test_no_thread_becomes_a_real_time_one(tmp_path, codec):
    """As root, SVT-AV1 would make them so, and all processes that are started later."""
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
def test_the_file_is_there_before_the_encoder_gives_anything(tmp_path, codec):
    """Its size is asked for after each episode, and an encoder of AV1 is frames late."""
    path = tmp_path / 'new' / 'video.mp4'
    video = VideoWriter(path, codec, 10.0, (64, 64))
    try:
        assert path.stat().st_size >= 0
    finally:
        video.write(np.zeros((64, 64, 3), np.uint8))
        video.close()
