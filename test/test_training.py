# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Training computes as the runtime does, and can be resumed."""

from dataclasses import replace

from loss_curves import assert_same_curve
import numpy as np
import pytest
import torch

pytest.importorskip('accelerate')
pytest.importorskip('vla_ros.worlds.world')

from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402
from vla_ros.training.accelerator import make_accelerator  # noqa: E402
from vla_ros.training.layout import DATASET  # noqa: E402
from vla_ros.training.layout import IMAGE_SIZE  # noqa: E402
from vla_ros.training.layout import write_weights  # noqa: E402
from vla_ros.training.loop import Training  # noqa: E402
from vla_ros.training.loop import TrainingPlan  # noqa: E402
from vla_ros.training.resumable import TrainingError  # noqa: E402
from vla_ros.training.samples import make_sampler  # noqa: E402
from vla_ros.training.samples import Samples  # noqa: E402
from vla_ros.worlds.tasks import ALL_TASKS  # noqa: E402

PLAN = TrainingPlan(steps=4, batch=4, samples=8)


@pytest.fixture(scope='module')
def samples(tmp_path_factory):
    training = Training(PLAN, tmp_path_factory.mktemp('transform'), make_accelerator())
    return Samples.join(list(make_sampler(training.transform).draw_many(range(8))))


def test_training_gives_the_tokens_of_the_engine(tmp_path):
    """Each of several instructions in one sequence gets the tokens of a single inference."""
    training = Training(PLAN, tmp_path, make_accelerator())
    network = training.learner.network
    with torch.no_grad():
        # Large enough for different results, and storable in bfloat16 without loss.
        for parameter in network.parameters():
            parameter.copy_((parameter * 3).to(torch.bfloat16))
    write_weights(network, tmp_path)
    policy = load_policy(PolicyConfig(str(tmp_path), clip_invalid=True, device='cpu'))
    image = np.random.default_rng(0).integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    chosen = [1, 6, 11]
    chunks = [policy.infer(Observation((image,), ALL_TASKS[index].instruction))
              for index in chosen]
    tokens = torch.tensor([chunk.token_ids for chunk in chunks])
    assert policy.spec.unnorm_key == DATASET and len(set(map(tuple, tokens.tolist()))) > 1

    learner, tasks = training.learner, torch.tensor([chosen])
    pixels = training._pixels(image[None], augment=False)
    lengths = learner.prompts.lengths[tasks]
    branches = torch.nn.functional.pad(learner.prompts.branches[tasks], (0, 6))
    steps = lengths[..., None] + torch.arange(6)
    branches = branches.scatter(2, steps, tokens[None, :, :6])
    with torch.no_grad():
        hidden = learner._run(network.embed_image(pixels), branches)
        logits = network.language_model.logits(hidden)[0]
    for row, length, expected in zip(logits, lengths[0], tokens):
        assert row[length - 1:length + 6].argmax(-1).tolist() == expected.tolist()


def test_bins_of_the_training_are_those_of_the_action_tokenizer(tmp_path):
    training = Training(PLAN, tmp_path, make_accelerator())
    learner = training.learner
    rng = np.random.default_rng(0)
    low, high = learner._low.numpy(), learner._high.numpy()
    actions = rng.uniform(low - 0.01, high + 0.01, (50, 7))
    normal = 2 * (actions - low) / (high - low) - 1
    ids = learner._tokenizer.encode(normal)
    assert np.array_equal(learner._bins(torch.tensor(actions)).numpy(),
                          learner._tokenizer.bins(ids))


def test_an_interrupted_training_resumes_to_the_same_curve_and_weights(tmp_path, samples):
    whole = Training(PLAN, tmp_path / 'whole', make_accelerator())
    whole.run(samples, lambda step, losses: None)

    def interrupt(step, losses):
        if step == 2:
            interrupted.save()
            raise KeyboardInterrupt
    interrupted = Training(PLAN, tmp_path / 'broken', make_accelerator())
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(samples, interrupt)
    resumed = Training(PLAN, tmp_path / 'broken', make_accelerator())
    assert resumed.step == 2
    resumed.run(samples, lambda step, losses: None)
    assert_same_curve(resumed.curve, whole.curve)
    weights = [(tmp_path / name / 'model.safetensors').read_bytes()
               for name in ('whole', 'broken')]
    assert weights[0] == weights[1]
    with pytest.raises(TrainingError, match='another plan'):
        Training(replace(PLAN, seed=1), tmp_path / 'broken', make_accelerator())


def test_a_sample_is_a_function_of_its_seed(tmp_path, samples):
    training = Training(PLAN, tmp_path, make_accelerator())
    repeated = make_sampler(training.transform).draw(3)
    assert np.array_equal(repeated.images[0], samples.images[3])
    assert np.array_equal(repeated.actions[0], samples.actions[3], equal_nan=True)
