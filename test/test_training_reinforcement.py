# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""GRPO: loss, sampling of rollouts, and a loop that can be resumed."""

from dataclasses import replace
import json

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('accelerate')
pytest.importorskip('vla_ros.worlds.world')
pytest.importorskip('ruckig')

from vla_ros.cli.train import main  # noqa: E402
from vla_ros.errors import VlaError  # noqa: E402
from vla_ros.model.checkpoint import open_checkpoint  # noqa: E402
from vla_ros.training.accelerator import make_accelerator  # noqa: E402
from vla_ros.training.actor import Actor  # noqa: E402
from vla_ros.training.groups import Group  # noqa: E402
from vla_ros.training.groups import GroupSettings  # noqa: E402
from vla_ros.training.groups import run_groups  # noqa: E402
from vla_ros.training.groups import Scenario  # noqa: E402
from vla_ros.training.grpo import Clipping  # noqa: E402
from vla_ros.training.grpo import group_advantages  # noqa: E402
from vla_ros.training.grpo import policy_loss  # noqa: E402
from vla_ros.training.reinforcement import Experience  # noqa: E402
from vla_ros.training.reinforcement import Reinforcement  # noqa: E402
from vla_ros.training.reinforcement_plan import ReinforcementPlan  # noqa: E402
from vla_ros.training.resumable import TrainingError  # noqa: E402
from vla_ros.training.seeds import demonstration_seed  # noqa: E402
from vla_ros.training.seeds import group_seed  # noqa: E402
from vla_ros.training.seeds import rollout_seed  # noqa: E402
from vla_ros.training.seeds import validation_seed  # noqa: E402
from vla_ros.training.trials import ParallelWorlds  # noqa: E402
from vla_ros.training.trials import Trajectory  # noqa: E402
from vla_ros.training.trials import Trial  # noqa: E402
from vla_ros.util.share import find_share  # noqa: E402
from vla_ros.worlds.outcomes import Episode  # noqa: E402
from vla_ros.worlds.tasks import ALL_TASKS  # noqa: E402

START = find_share() / 'config' / 'checkpoints' / 'vla_ros_tabletop'
PLAN = ReinforcementPlan(steps=2, scenes=3, size=4, states=4, temperature=1.0, seconds=0.5,
                         batch=4, validation=1, validate_every=2)


def trajectory(member, succeeded, actor, count=6, temperature=0.7):
    """Sample actions for images of noise, as an episode of "reach the red block"."""
    rng = np.random.default_rng(member)
    side = actor.network.config.towers[0].image_size
    images = rng.integers(0, 256, (count, side, side, 3), np.uint8)
    sampled = actor.act(images, [ALL_TASKS[0].instruction] * count,
                        [actor.noise(rng, temperature) for _ in range(count)],
                        [temperature] * count)
    episode = Episode(5, ALL_TASKS[0], 'red' if succeeded else '', 1.0)
    return Trajectory(Trial(5, 0, member, temperature), episode, images,
                      np.stack([one.tokens for one in sampled]),
                      np.stack([one.log_probs for one in sampled]),
                      np.array([one.action is not None for one in sampled]))


@pytest.fixture(scope='module')
def actor():
    return Actor(open_checkpoint(str(START)))


@pytest.fixture(scope='module')
def worlds(actor):
    return ParallelWorlds(actor, 3)


def make(folder, plan=PLAN, log=lambda line: None):
    return Reinforcement(plan, START, folder, make_accelerator(), 1, 4, log)


def test_an_advantage_is_normalized_within_its_group():
    np.testing.assert_allclose(group_advantages(np.array([1.0, 0, 0, 0])),
                               np.array([3, -1, -1, -1]) / np.sqrt(3), atol=1e-5)
    assert not group_advantages(np.ones(4)).any()


def test_the_policy_loss_equals_one_computed_by_hand():
    ratios = torch.tensor([[1.5, 0.9, 7.0], [0.5, 1.5, 1.0]])
    new = ratios.log().requires_grad_()
    valid = torch.tensor([[True, True, False], [True, True, True]])
    advantages = torch.tensor([2.0, -1.0])
    # Gains: min(1.5·2, 1.28·2), 0.9·2; min(-0.5, -0.8), min(-1.5, -1.28), -1.
    gains = [2.56, 1.8, -0.8, -1.5, -1.0]
    found = policy_loss(new, torch.zeros(2, 3), advantages, valid, Clipping(0.2, 0.28))
    assert found.loss.item() == pytest.approx(-sum(gains) / 5)
    assert found.clipped.item() == pytest.approx(2 / 5)
    found.loss.backward()
    # Clipped and masked tokens have no gradient; that of the others is -ratio·advantage / 5.
    torch.testing.assert_close(new.grad, torch.tensor([[0, -0.36, 0], [0, 0.3, 0.2]]))


def test_the_divergence_equals_one_computed_by_hand():
    new, reference = torch.zeros(1, 2), torch.tensor([[np.log(2.0), float('inf')]])
    found = policy_loss(new, new, torch.zeros(1), torch.tensor([[True, False]]),
                        Clipping(kl=0.5), reference)
    assert found.divergence.item() == pytest.approx(1 - np.log(2), abs=1e-6)
    assert found.loss.item() == pytest.approx(0.5 * (1 - np.log(2)), abs=1e-6)


def test_an_invalid_token_has_no_effect_at_any_probability():
    new = torch.tensor([[0.0, float('-inf')]], requires_grad=True)
    found = policy_loss(new, torch.tensor([[0.0, float('-inf')]]), torch.ones(1),
                        torch.tensor([[True, False]]), Clipping())
    found.loss.backward()
    assert torch.isfinite(new.grad).all() and found.loss.item() == -1.0


@pytest.mark.parametrize('kl', [0.0, 0.1])
def test_training_computes_the_log_probabilities_of_the_sampling(actor, tmp_path, kl):
    training = make(tmp_path, replace(PLAN, temperature=0.7, kl=kl))
    pair = [trajectory(0, True, actor), trajectory(1, False, actor)]
    experience = Experience.of([Group(pair[0].trial, None, [one.episode for one in pair], pair)])
    assert experience.advantages.tolist() == pytest.approx([1.0] * 6 + [-1.0] * 6, abs=1e-4)
    rows = np.arange(12)
    new = training.network(*training._inputs(experience, rows)).detach().numpy()
    np.testing.assert_allclose(new, experience.log_probs, atol=2e-4)
    # Before the first step all ratios are one, and the divergence from the reference is zero.
    found = training.loss(experience, rows)
    assert found.clipped == 0.0 and found.divergence.item() == pytest.approx(0, abs=1e-6)


def test_noise_samples_the_softmax_at_its_temperature(actor):
    """Frequencies of the first token are compared with its probability."""
    once = trajectory(0, True, actor, 1)
    image, instruction = once.images[0], ALL_TASKS[0].instruction
    rng = np.random.default_rng(3)
    first: dict[int, list[float]] = {}
    for _ in range(20):
        for one in actor.act([image] * 25, [instruction] * 25,
                             [actor.noise(rng, 0.7) for _ in range(25)], [0.7] * 25):
            first.setdefault(int(one.tokens[0]), []).append(float(one.log_probs[0]))
    for token, values in first.items():
        expected = 500 * np.exp(values[0])
        assert abs(len(values) - expected) < 5 * np.sqrt(expected) + 2, token
    assert len(first) > 3
    greedy, = actor.act([image], [instruction], [None], [0.0])
    assert greedy.tokens[0] == max(first, key=lambda token: first[token][0])


def test_parallel_worlds_have_the_episodes_of_single_worlds(actor, worlds):
    trials = [Trial(group_seed(0, 0, index), index, index, 1.0, 0.4) for index in range(5)]
    found: list[Trajectory] = []
    worlds.run(trials, lambda one: (found.append(one), [])[1])
    single: list[Trajectory] = []
    ParallelWorlds(actor, 1).run(trials, lambda one: (single.append(one), [])[1])
    for one in single:
        other, = (other for other in found if other.trial == one.trial)
        np.testing.assert_array_equal(other.tokens, one.tokens)
        np.testing.assert_array_equal(other.images, one.images)


def test_a_group_is_run_only_if_its_screening_fails(worlds, monkeypatch):
    trials = [Trial(group_seed(0, 0, index), 4 + index, 8, 1.0, 0.3) for index in range(2)]
    scenarios = [Scenario(trials[0], True), Scenario(trials[1], False)]
    settings = GroupSettings(4, 2)
    # The episodes are too short to succeed.
    for group, trial in zip(run_groups(worlds, scenarios, settings), trials):
        assert group.trial == trial and (group.screened is not None) == (trial == trials[0])
        assert len(group.episodes) == 4 and not group.rewards.any() and not group.trajectories
    monkeypatch.setattr(Episode, 'succeeded', True)
    screened, other = run_groups(worlds, scenarios, settings)
    assert screened.screened and not screened.episodes
    assert other.rewards.tolist() == [1.0] * 4 and not other.trajectories


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path, monkeypatch):
    # The episodes are too short to succeed, so successes are decided by scene and duration.
    monkeypatch.setattr(Episode, 'succeeded', property(
        lambda episode: (round(episode.seconds * 50) + episode.seed) % 2 == 1))
    lines: list[str] = []
    whole = make(tmp_path / 'whole', log=lines.append)
    whole.run(lambda step, losses: None)
    interrupted = make(tmp_path / 'again')

    def interrupt(step, losses):
        if step == 2:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(interrupt)
    resumed = make(tmp_path / 'again')
    assert resumed.step == 1
    resumed.run(lambda step, losses: None)
    start = Actor(open_checkpoint(str(START)))
    moved = 0.0
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(tensor, resumed.tensors()[name], rtol=0, atol=1e-5)
    written = Actor(open_checkpoint(str(tmp_path / 'whole')))
    for mine, theirs in zip(written.network.parameters(), start.network.parameters()):
        moved = max(moved, float((mine - theirs).abs().max()))
    assert moved > 0
    records = [json.loads((tmp_path / 'whole' / 'iterations' / f'{step:04d}.json').read_text())
               for step in range(3)]
    assert 'groups' not in records[0] and any(
        0 < successes < size for _, _, successes, size in records[1]['groups'])
    assert ['validation' in one for one in records] == [True, False, True]
    assert records[2]['validation']['all'][1] == 1
    assert sum('iteration' in line for line in lines) == 2
    with pytest.raises(TrainingError, match='another plan'):
        make(tmp_path / 'again', replace(PLAN, kl=0.5))


def test_scenes_with_failures_are_revisited(tmp_path):
    training = make(tmp_path, replace(PLAN, scenes=4, revisited=2, focus='pick'))
    training._write_record(1, {'groups': [[7, 9, 3, 8], [8, 2, 8, 8], [9, 8, 0, 8]]})
    training.step = 1
    found = training.scenarios()
    assert {(one.trial.scene, one.trial.task) for one in found[:2]} == {(7, 9), (9, 8)}
    assert [one.is_screened for one in found] == [False] * 2 + [True] * 4
    assert all(one.trial.member == 4 for one in found)
    assert len({(one.trial.scene, one.trial.task) for one in found}) == 6


def test_most_scenes_are_of_the_focused_kind_and_every_task_occurs():
    plan = ReinforcementPlan(focus='pick')
    kinds = [ALL_TASKS[plan.task(index)].kind for index in range(200)]
    assert kinds.count('pick') == 140 and min(kinds.count('reach'), kinds.count('push')) > 20
    assert {plan.task(index) for index in range(240)} == set(range(12))
    assert {ReinforcementPlan().task(index) for index in range(12)} == set(range(12))


def test_seeds_of_all_uses_are_distinct_and_none_is_an_evaluation_seed():
    seeds = [use(seed, number, index) for use in (group_seed, rollout_seed)
             for seed in (0, 1) for number in (1, 2) for index in (0, 1)]
    seeds += [use(seed, index) for use in (validation_seed, demonstration_seed)
              for seed in (0, 1) for index in (0, 1)]
    assert len(set(seeds)) == len(seeds) and min(seeds) >= 2**64


@pytest.mark.parametrize('arguments, problem', [
    (['--rl', '2', '--out', 'x'], '--rl needs --start (the checkpoint to begin with)'),
    (['--rl', '-1'], '--rl: got -1, it must be a number of iterations'),
    (['--rl', '2', '--dagger', '1'], '--dagger and --rl exclude one another'),
    (['--focus', 'pick', '--out', 'x', '--data', 'y'], '--focus belongs to --rl'),
    (['--rl', '2', '--start', 's', '--out', 'x', '--group', '1'], '--group: got 1, it must be 2'),
    (['--rl', '2', '--start', 's', '--out', 'x', '--temperature', '0'], '--temperature: got 0.0'),
    (['--rl', '2', '--start', 's', '--out', 'x', '--kl', 'nan'], '--kl: got nan'),
    (['--rl', '2', '--start', 's', '--out', 'x', '--seconds', '0'], '--seconds: got 0.0'),
    (['--rl', '2', '--start', '/no', '--out', 'x'], 'checkpoint /no: no such folder')])
def test_an_invalid_option_is_one_line_and_writes_nothing(arguments, problem, capsys, tmp_path,
                                                          monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'vla_train: {problem}')
    assert not list(tmp_path.iterdir())


def test_a_launcher_with_several_processes_is_refused(tmp_path):
    accelerator = make_accelerator()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(accelerator), 'num_processes', 2)
        with pytest.raises(VlaError, match='without a launcher'):
            Reinforcement(PLAN, START, tmp_path / 'out', accelerator, 1, 1, print)
