# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What a frame allocates on its way through the node, from the message to the command."""

import math
import tracemalloc

import numpy as np
import pytest

pytest.importorskip('torch')

from vla_ros.camera_image import to_rgb  # noqa: E402, I100
from vla_ros.demo.checkpoint import ensure_checkpoint  # noqa: E402
from vla_ros.inference import Inference  # noqa: E402
from vla_ros.parameters import NodeConfig  # noqa: E402
from vla_ros.policy import load_policy  # noqa: E402
from vla_ros.policy import PolicyConfig  # noqa: E402
from vla_ros.shell import Frame  # noqa: E402
from vla_ros.status import StatusBoard  # noqa: E402

WIDTH, HEIGHT = 640, 480
#: All that is alive at a time, small numbers of the answer included: not one row of the image,
#: not one picture of the black box fits.
MOST = 12 * 1024


class Shell:
    """Takes the place of ROS, with a clock that advances a tenth of a second at each look."""

    def __init__(self):
        self.moment = 10 ** 9
        self.commands = 0

    def now(self):
        self.moment += 10 ** 8
        return self.moment

    def motion_time(self):
        return self.moment / 1e9

    def is_simulated(self):
        return True

    def stamp_of(self, image):
        return self.moment

    def read_image(self, image):
        return to_rgb('bgr8', HEIGHT, WIDTH, 3 * WIDTH, image)

    def read_button(self):
        return None

    def publish_answer(self, answer):
        self.commands += 1
        return math.nan

    def publish_status(self, status):
        pass


@pytest.fixture(scope='module')
def policy(tmp_path_factory):
    folder = ensure_checkpoint(tmp_path_factory.mktemp('demo') / 'checkpoint')
    return load_policy(PolicyConfig(str(folder), device='cpu'))


@pytest.mark.parametrize('black_box', [False, True])
def test_nothing_above_a_kilobyte_is_allocated_for_a_frame(policy, tmp_path, black_box):
    shell = Shell()
    config = NodeConfig(checkpoint='x', instruction='pick up the cup', black_box_seconds=1.0,
                        black_box_folder=str(tmp_path) if black_box else '')
    inference = Inference(config, shell, StatusBoard('/c', '/i', 60.0), lambda _: policy)
    inference.configure()
    inference.activate()
    pictures = [np.random.default_rng(seed).integers(0, 256, HEIGHT * WIDTH * 3, np.uint8)
                for seed in range(3)]

    def answer(number):
        # In this thread, not in the worker's, so that what is measured is the frame's alone.
        frame = Frame(pictures[number % 3], shell.now(), math.inf)
        inference._answerer.answer(policy, frame)

    try:
        for number in range(30):
            answer(number)
        tracemalloc.start()
        peaks = []
        for number in range(10):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            answer(number)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        kept = tracemalloc.take_snapshot()
        for number in range(20):
            answer(number)
        grown = tracemalloc.take_snapshot().compare_to(kept, 'lineno')
    finally:
        tracemalloc.stop()
        inference.stop(30.0)
    assert shell.commands == 60
    assert max(peaks) < MOST, peaks
    larger = [line for line in grown if line.size_diff / max(line.count_diff, 1) >= 1024]
    assert not [line for line in larger if 'tracemalloc' not in str(line.traceback)], larger
