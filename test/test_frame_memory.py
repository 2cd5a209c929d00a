# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Memory that the node allocates for a frame, from the message to the command."""

import math
import time
import tracemalloc

import numpy as np
import pytest

pytest.importorskip('torch')

from vla_ros.camera.image_encodings import to_rgb  # noqa: E402, I100
from vla_ros.control.controller import Controller  # noqa: E402
from vla_ros.control.parameters import NodeConfig  # noqa: E402
from vla_ros.control.ros_interface import Frame  # noqa: E402
from vla_ros.control.status import NodeStatus  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402
from vla_ros.safety import emergency_stop  # noqa: E402
from vla_ros.safety.emergency_stop import EstopTopicState  # noqa: E402
from vla_ros.util.demo_checkpoint import ensure_checkpoint  # noqa: E402

WIDTH, HEIGHT = 640, 480
#: Bytes allocated at a time, the small arrays of the result included: not one row of the image,
#: not one image of the black box fits.
LIMIT = 12 * 1024


class RosInterface:
    """Replaces ROS, with a clock that advances 0.1 s at each call."""

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

    def take_estop(self):
        return ()

    def find_estop_publishers(self):
        return EstopTopicState()

    def publish_command(self, command, image, is_shadow):
        self.commands += 1

    def publish_result(self, result, published):
        return math.nan

    def publish_status(self, status):
        pass


@pytest.fixture(autouse=True)
def no_settling(monkeypatch):
    """Do not wait for the discovery of an emergency stop."""
    monkeypatch.setattr(emergency_stop, 'SETTLE_TIME', 0.0)


@pytest.fixture(scope='module')
def policy(tmp_path_factory):
    folder = ensure_checkpoint(tmp_path_factory.mktemp('demo') / 'checkpoint')
    return load_policy(PolicyConfig(str(folder), device='cpu'))


@pytest.mark.parametrize('black_box', [False, True])
def test_a_frame_keeps_no_allocation_above_a_kilobyte(policy, tmp_path, black_box):
    ros = RosInterface()
    config = NodeConfig(checkpoint='x', instruction='pick up the cup', black_box_seconds=1.0,
                        black_box_folder=str(tmp_path) if black_box else '')
    controller = Controller(config, ros, NodeStatus('/c', '/i', 60.0), lambda _: policy)
    controller.configure()
    controller.activate()
    images = [np.random.default_rng(seed).integers(0, 256, HEIGHT * WIDTH * 3, np.uint8)
              for seed in range(3)]

    def process(number):
        # In this thread, not in the worker's, so that the memory of the frame alone is measured.
        frame = Frame(images[number % 3], ros.now(), time.monotonic())
        controller._process(policy, frame)

    try:
        for number in range(30):
            process(number)
        tracemalloc.start()
        peaks = []
        for number in range(10):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            process(number)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        kept = tracemalloc.take_snapshot()
        for number in range(20):
            process(number)
        grown = tracemalloc.take_snapshot().compare_to(kept, 'lineno')
    finally:
        tracemalloc.stop()
        controller.stop(30.0)
    assert ros.commands == 60
    assert max(peaks) < LIMIT, peaks
    larger = [line for line in grown if line.size_diff / max(line.count_diff, 1) >= 1024]
    assert not [line for line in larger if 'tracemalloc' not in str(line.traceback)], larger
