# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Frames are read by worker processes ahead of the training, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('accelerate')
pytest.importorskip('av')
pytest.importorskip('pyarrow')
pytest.importorskip('peft')

from vla_ros.data.lerobot_dataset import LeRobotDataset  # noqa: E402
from vla_ros.data.lerobot_writer import DatasetLayout  # noqa: E402
from vla_ros.data.lerobot_writer import EpisodeNumbers  # noqa: E402
from vla_ros.data.lerobot_writer import LeRobotWriter  # noqa: E402
from vla_ros.errors import VlaError  # noqa: E402
from vla_ros.model.checkpoint import open_checkpoint  # noqa: E402
from vla_ros.training.accelerator import make_accelerator  # noqa: E402
from vla_ros.training.batches import BatchStream  # noqa: E402
from vla_ros.training.batches import FrameBatches  # noqa: E402
from vla_ros.training.batches import TRAIN  # noqa: E402
from vla_ros.training.batches import VALIDATE  # noqa: E402
from vla_ros.training.finetuning import FineTuning  # noqa: E402
from vla_ros.training.finetuning import FineTuningPlan  # noqa: E402

PLAN = FineTuningPlan(steps=4, batch=4, rank=4, learning_rate=5e-3, augment=True, validation=0.4,
                      validate_every=2)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    """Write three episodes of video."""
    folder = tmp_path_factory.mktemp('data') / 'three_episodes'
    folder.mkdir()
    rng = np.random.default_rng(0)
    writer = LeRobotWriter(folder, DatasetLayout({'camera': (48, 64)}, (), tuple('abcdefg'), 10.0))
    for length in (5, 6, 7):
        for frame in range(length):
            writer.add_image('camera', np.full((48, 64, 3), 20 * frame, np.uint8))
        writer.save_episode(EpisodeNumbers(
            ['wave'] * length, None, rng.normal(size=(length, 7)).astype(np.float32),
            np.zeros(length, bool)))
    writer.close()
    return LeRobotDataset(folder)


def test_frames_of_video_decoded_by_a_worker_give_the_same_training(
        golden_checkpoints, dataset, tmp_path):
    base = open_checkpoint(str(golden_checkpoints['float32']))

    def begin(name, decoders):
        return FineTuning(PLAN, base, dataset, tmp_path / name, make_accelerator(),
                          decoders=decoders)

    def interrupt(step, losses):
        if step == 3:
            ahead.save()
            raise KeyboardInterrupt
    here, ahead = begin('here', 0), begin('ahead', 1)
    here.run(lambda step, losses: None)
    assert 'validation_l1' in here.curve[1]
    with pytest.raises(KeyboardInterrupt):
        ahead.run(interrupt)
    assert ahead.curve == here.curve[:3]
    again = begin('ahead', 0)
    assert again.step == 3
    again.run(lambda step, losses: None)
    assert again.curve[3]['action'] == pytest.approx(here.curve[3]['action'], rel=1e-5)


def read_nothing(rows, random):
    """Give the numbers of the frames; the last one is damaged."""
    import torch
    if 9 in rows:
        raise VlaError('frame 9 is damaged')
    return torch.from_numpy(rows), torch.tensor([rng.random() for rng in random])


def test_a_batch_is_a_function_of_its_key_and_an_error_stays_one_sentence():
    parts = (slice(0, 2), slice(2, 4))
    batches = FrameBatches(read_nothing, np.arange(9), np.arange(5, 10), parts, 4, 7, True)
    keys = [(TRAIN, step, part) for step in range(3) for part in (0, 1)]
    stream = BatchStream(batches, [*keys, (VALIDATE, 2, 0), (VALIDATE, 2, 2)], 1, False)
    for key in keys:
        if key[1] != 1:  # those of step 1 are passed over
            rows, random = stream.take(key)
            expected = batches(key)
            assert rows.tolist() == expected[0].tolist() and len(random) == 2
            assert random.tolist() == expected[1].tolist()
    assert stream.take((VALIDATE, 2, 0))[0].tolist() == [5, 6]
    assert batches.validation_parts == 3
    with pytest.raises(VlaError, match='^frame 9 is damaged$'):
        stream.take((VALIDATE, 2, 2))
    whole = replace(batches, parts=(slice(0, 4),))((TRAIN, 1, 0))[0].tolist()
    assert whole == [*batches((TRAIN, 1, 0))[0].tolist(), *batches((TRAIN, 1, 1))[0].tolist()]
