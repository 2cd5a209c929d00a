# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Worker processes read frames ahead of the training, which stays the same."""

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


def test_frames_decoded_by_a_worker_give_the_same_training_and_resume(
        golden_checkpoints, dataset, tmp_path):
    base = open_checkpoint(str(golden_checkpoints['float32']))

    def make_tuning(name, decoders):
        return FineTuning(PLAN, base, dataset, tmp_path / name, make_accelerator(),
                          decoders=decoders)

    def interrupt(step, losses):
        if step == 3:
            with_worker.save()
            raise KeyboardInterrupt
    without_worker, with_worker = make_tuning('here', 0), make_tuning('ahead', 1)
    without_worker.run(lambda step, losses: None)
    assert 'validation_l1' in without_worker.curve[1]
    with pytest.raises(KeyboardInterrupt):
        with_worker.run(interrupt)
    assert with_worker.curve == without_worker.curve[:3]
    resumed = make_tuning('ahead', 0)
    assert resumed.step == 3
    resumed.run(lambda step, losses: None)
    assert resumed.curve[3]['action'] == pytest.approx(without_worker.curve[3]['action'], rel=1e-5)


def read_rows(rows, random):
    """Return the numbers of the frames, of which the last one is damaged."""
    import torch
    if 9 in rows:
        raise VlaError('frame 9 is damaged')
    return torch.from_numpy(rows), torch.tensor([rng.random() for rng in random])


def test_a_batch_is_a_function_of_its_key_and_an_error_of_a_worker_is_raised():
    parts = (slice(0, 2), slice(2, 4))
    batches = FrameBatches(read_rows, np.arange(9), np.arange(5, 10), parts, 4, 7, True)
    keys = [(TRAIN, step, part) for step in range(3) for part in (0, 1)]
    stream = BatchStream(batches, [*keys, (VALIDATE, 2, 0), (VALIDATE, 2, 2)], 1, False)
    for key in keys:
        if key[1] != 1:  # the batches of step 1 are skipped
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
