# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""DAgger: states of rollouts are labelled by the expert and trained on."""

from dataclasses import replace
import sys

import numpy as np
import pytest

pytest.importorskip('accelerate')
pytest.importorskip('vla_ros.worlds.world')

from vla_ros.cli.train import main  # noqa: E402
from vla_ros.errors import InvalidAction  # noqa: E402
from vla_ros.training.accelerator import make_accelerator  # noqa: E402
from vla_ros.training.dagger import DaggerPlan  # noqa: E402
from vla_ros.training.dagger import RoundPlan  # noqa: E402
from vla_ros.training.dagger import run_rounds  # noqa: E402
from vla_ros.training.loop import Training  # noqa: E402
from vla_ros.training.loop import TrainingPlan  # noqa: E402
from vla_ros.training.resumable import TrainingError  # noqa: E402
from vla_ros.training.rollouts import RolloutWorker  # noqa: E402
from vla_ros.training.samples import make_sampler  # noqa: E402
from vla_ros.training.samples import Samples  # noqa: E402
from vla_ros.training.seeds import demonstration_seed  # noqa: E402
from vla_ros.training.seeds import rollout_seed  # noqa: E402
from vla_ros.util.packages import install_command  # noqa: E402
from vla_ros.worlds.expert import Expert  # noqa: E402
from vla_ros.worlds.robot import Robot  # noqa: E402
from vla_ros.worlds.tasks import ALL_TASKS  # noqa: E402
from vla_ros.worlds.tasks import Task  # noqa: E402

PLAN = DaggerPlan(rounds=1, episodes=2, steps=2, batch=4, drawn=6)


class FunctionPolicy:
    """A policy whose action is a function of the instruction."""

    def __init__(self, act):
        self._act = act

    def infer(self, observation):
        action = self._act(Task.parse(observation.instruction))
        if action is None:
            raise InvalidAction('nothing', (), ())

        class Chunk:
            actions = action[None]
        return Chunk

    def reset(self):
        pass


@pytest.fixture(scope='module')
def sampler(tmp_path_factory):
    return make_sampler(Training(TrainingPlan(), tmp_path_factory.mktemp('transform'),
                                 make_accelerator()).transform)


@pytest.fixture(scope='module')
def start(tmp_path_factory, sampler):
    """Train a checkpoint for two steps."""
    drawn = Samples.join(list(sampler.draw_many(range(6))))
    training = Training(TrainingPlan(steps=2, batch=4, samples=6),
                        tmp_path_factory.mktemp('start'), make_accelerator())
    training.run(drawn, lambda step, losses: None)
    return training.folder, drawn


def run(start, out, plan=PLAN):
    lines = []
    run_rounds(plan, start[0], out, start[1], 1, lines.append,
               lambda training: lambda step, losses: None, make_accelerator())
    return lines


def test_rollouts_of_the_expert_succeed_and_have_labels_for_every_colour(sampler):
    expert = Expert(Robot.load())

    def act(task):
        return expert.act(task, sampler.world.state())
    for index in (2, 5, 8, 14):
        rollouts = RolloutWorker(sampler, FunctionPolicy(act)).run(0, 1, index)
        episode, = rollouts.episodes
        assert episode.succeeded and episode.task == ALL_TASKS[index % 12]
        samples = rollouts.samples
        assert rollouts.disturbed == [index >= 12] and len(samples.images) > 8
        assert samples.task[0] == index % 12
        # Every colour in the scene has an action, others have none.
        is_present = ~np.isnan(samples.keypoints[:, :4, 0])
        assert np.array_equal(~np.isnan(samples.actions[..., 0]), np.tile(is_present, 3))


def test_a_rollout_of_a_policy_at_rest_ends_early_with_few_samples(sampler):
    rollouts = RolloutWorker(sampler, FunctionPolicy(lambda task: None)).run(0, 1, 0)
    assert rollouts.episodes[0].decided == ''
    assert sampler.world.time < 5
    assert len(set(map(bytes, rollouts.samples.images))) <= 2


def test_interrupted_rounds_resume_to_the_same_weights(tmp_path, start):
    whole = run(start, tmp_path / 'whole')
    assert any('undisturbed reach' in line for line in whole)
    interrupted = tmp_path / 'again'
    with pytest.raises(KeyboardInterrupt):
        def interrupt(step, losses):
            raise KeyboardInterrupt
        run_rounds(PLAN, start[0], interrupted, start[1], 1, print, lambda training: interrupt,
                   make_accelerator())
    run(start, interrupted)
    weights = [(folder / 'model.safetensors').read_bytes()
               for folder in (start[0], tmp_path / 'whole', interrupted)]
    assert weights[0] != weights[1] == weights[2]
    assert not (interrupted / 'training_state.pt').exists()
    with pytest.raises(TrainingError, match='another plan'):
        run(start, interrupted, replace(PLAN, episodes=3))


def test_each_batch_holds_the_set_ratio_of_rollouts():
    plan = RoundPlan(batch=10, samples=50, share=0.3)
    rows = plan.choose_rows(np.random.default_rng(0), 70)
    assert len(set(rows.tolist())) == 10 and (rows >= 50).sum() == 3


def test_training_seeds_are_distinct_and_none_is_an_evaluation_seed():
    seeds = {rollout_seed(seed, number, index) for seed in (0, 1) for number in (1, 2)
             for index in (0, 1)}
    seeds |= {demonstration_seed(seed, index) for seed in (0, 1) for index in (0, 1)}
    assert len(seeds) == 12 and min(seeds) >= 2**64


def test_a_missing_option_is_named(capsys):
    assert main(['--dagger', '2', '--out', 'x', '--data', 'y']) == 2
    assert capsys.readouterr().err.splitlines() == [
        'vla_train: --dagger needs --start (the checkpoint of the first rollouts), which the '
        'command line does not have; add it']
    assert main(['--finetune', 'x']) == 2
    assert capsys.readouterr().err.splitlines() == [
        'vla_train: --finetune needs --dataset (the folder of a LeRobot dataset), which the '
        'command line does not have; add it']
    assert main([]) == 2
    assert capsys.readouterr().err.splitlines() == [
        'vla_train: training needs --out (the folder of the result) and --data (the folder of the '
        'drawn samples), which the command line does not have; add them']


@pytest.mark.parametrize('arguments, problem', [
    (['--dagger', '1', '--dataset', 'd'],
     '--dataset and --dagger exclude one another; give one of them'),
    (['--start', 's', '--out', 'x', '--data', 'y'],
     '--start belongs to --dagger, --rl and --dataset, none of which was given; add one or leave '
     '--start out')])
def test_options_that_exclude_each_other_are_refused(arguments, problem, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err.splitlines() == [f'vla_train: {problem}']


@pytest.mark.parametrize('arguments, problem', [
    (['--seed', '-1'], '--seed: got -1, it must be a whole number from 0 to 4294967295'),
    (['--batch', '0'], '--batch: got 0, it must be at least 1'),
    (['--lora-rank', '0'], '--lora-rank: got 0, it must be at least 1'),
    (['--learning-rate', 'nan'], '--learning-rate: got nan, it must be above 0'),
    (['--dagger', '-1'], '--dagger: got -1, it must be a number of rounds')])
def test_invalid_numbers_for_a_training_are_refused(arguments, problem, capsys):
    assert main(['--out', 'x', '--data', 'y', *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'vla_train: {problem}')


def test_a_missing_start_checkpoint_is_named_before_a_folder_is_made(tmp_path, capsys):
    arguments = ['--data', str(tmp_path / 'data'), '--samples', '8', '--start',
                 str(tmp_path / 'no')]
    assert main(['--dagger', '1', '--out', str(tmp_path / 'out'), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'vla_train: checkpoint {tmp_path / "no"}: no such folder')
    assert not (tmp_path / 'out').exists()


def test_a_data_folder_that_cannot_be_created_is_one_line(tmp_path, capsys):
    (tmp_path / 'file').touch()
    arguments = ['--out', str(tmp_path / 'out'), '--samples', '8']
    assert main(['--data', str(tmp_path / 'file' / 'in'), *arguments]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f'vla_train: {tmp_path / "file" / "in"}: Not a directory']


def test_a_missing_simulator_is_named(monkeypatch, capsys):
    monkeypatch.setattr('vla_ros.cli.train.find_spec', lambda name: None)
    assert main(['--out', 'x', '--data', 'y']) == 2
    assert capsys.readouterr().err.splitlines() == [
        f'vla_train: training: the Python package mujoco is not installed for {sys.executable}; '
        f'run: {install_command()}']
