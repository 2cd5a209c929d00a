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
from vla_ros.training.groups import branch  # noqa: E402
from vla_ros.training.groups import Group  # noqa: E402
from vla_ros.training.groups import GroupSettings  # noqa: E402
from vla_ros.training.groups import run_groups  # noqa: E402
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
PLAN = ReinforcementPlan(steps=2, scenes=2, revisited=1, size=3, sampled=2, seconds=0.5, batch=4,
                         kl=0.0, validation=1, validate_every=2)
SETTINGS = GroupSettings(size=4, sampled=2, temperature=1.0, seconds=0.5)


def trajectory(member, succeeded, actor, count=6, temperature=0.7):
    """Sample actions for images of noise, as an episode of "reach the red block"."""
    rng = np.random.default_rng(member)
    side = actor.network.config.towers[0].image_size
    images = rng.integers(0, 256, (count, side, side, 3), np.uint8)
    sampled = actor.act(images, [ALL_TASKS[0].instruction] * count,
                        [actor.noise(rng, temperature) for _ in range(count)],
                        [temperature] * count)
    episode = Episode(5, ALL_TASKS[0], 'red' if succeeded else '', 1.0)
    tokens = np.stack([one.tokens for one in sampled])
    return Trajectory(Trial(5, 0, member, recorded=count, is_sampled=True,
                            temperature=temperature), episode, 0.5, tokens,
                      np.zeros(count, bool), images, tokens,
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


def test_an_advantage_is_the_difference_from_the_mean_of_its_group():
    np.testing.assert_allclose(group_advantages(np.array([1.0, 0, 0, 0])),
                               [0.75, -0.25, -0.25, -0.25])
    assert not group_advantages(np.ones(4)).any()


def test_an_earlier_success_has_a_larger_reward_and_only_mixed_groups_are_trained_on(actor):
    early, late, failure = (trajectory(member, member < 2, actor, 2) for member in range(3))
    late = replace(late, episode=replace(late.episode, seconds=2.5))
    group = Group(failure, [early, late, failure])
    np.testing.assert_allclose(group.rewards, [0.8**0.5, 0.8**2, 0])
    assert (group.successes, group.is_mixed) == (2, True)
    alike = Group(failure, [early, late])
    assert not alike.is_mixed and Experience.of([alike]) is None
    assert len(Experience.of([alike, group]).tokens) == 6


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
    experience = Experience.of([Group(pair[1], pair)])
    half = 0.8**0.5 / 2
    assert experience.advantages.tolist() == pytest.approx([half] * 6 + [-half] * 6)
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
    greedy, = actor.act([image], [instruction], [None], [0.7])
    assert greedy.tokens[0] == max(first, key=lambda token: first[token][0])


def run(worlds, trials):
    found: dict[Trial, Trajectory] = {}

    def finish(one):
        found[one.trial] = one
        return []
    worlds.run(trials, finish)
    return found


def test_parallel_worlds_have_the_episodes_of_single_worlds(actor, worlds):
    trials = [Trial(group_seed(0, 0, index), index, index, recorded=4, is_sampled=True,
                    seconds=0.4)
              for index in range(5)]
    found = run(worlds, trials)
    for trial, one in run(ParallelWorlds(actor, 1), trials).items():
        np.testing.assert_array_equal(found[trial].tokens, one.tokens)
        np.testing.assert_array_equal(found[trial].actions, one.actions)
        np.testing.assert_array_equal(found[trial].images, one.images)


def test_a_trial_replays_then_samples_then_takes_the_best_tokens(worlds):
    whole = Trial(group_seed(0, 0, 1), 8, seconds=0.9)
    (best,) = run(worlds, [whole]).values()
    assert not len(best.tokens) and best.began == 0.0
    branched = replace(whole, replayed=tuple(map(tuple, best.actions[:3].tolist())), recorded=2,
                       seconds=0.5)
    found = run(worlds, [branched, replace(branched, is_sampled=True)])
    again, sampled = found[branched], found[replace(branched, is_sampled=True)]
    # A replayed episode goes on as the one that it repeats.
    count = len(again.actions)
    assert count > 5 and again.began == pytest.approx(best.episode.seconds * 3 / len(best.actions))
    np.testing.assert_array_equal(again.actions, best.actions[:count])
    np.testing.assert_array_equal(again.resting, best.resting[:count])
    np.testing.assert_array_equal(sampled.actions[:3], best.actions[:3])
    for one in (again, sampled):
        np.testing.assert_array_equal(one.tokens, one.actions[3:5])
        assert len(one.images) == len(one.log_probs) == len(one.valid) == 2
    assert (sampled.tokens != again.tokens).any()
    # The first token of the first action sees the same image; the best one is the likeliest.
    assert sampled.log_probs[0, 0] <= again.log_probs[0, 0]


def test_an_arm_at_rest_ends_its_episode_after_the_patience(actor):
    class Still:
        space = actor.space

        def noise(self, rng, temperature):
            return None

        def act(self, images, instructions, noises, temperatures):
            return [replace(one, action=None) for one in actor.act(
                images, instructions, noises, temperatures)]
    trial = Trial(group_seed(0, 0, 1), 8, patience=0.5)
    (found,) = run(ParallelWorlds(Still(), 1), [trial]).values()
    assert 0.5 <= found.episode.seconds < 0.7 and found.stalled == 0


def test_a_group_branches_off_where_its_episode_began_to_rest(actor):
    stuck = replace(trajectory(2, False, actor), resting=np.array([True, False, False, True, True,
                                                                  True]))
    assert stuck.stalled == 3
    trials = branch(stuck, SETTINGS)
    assert [trial.member for trial in trials] == [2, 3, 4, 5, 6]
    assert [trial.is_sampled for trial in trials] == [False] + 4 * [True]
    for trial in trials:
        assert np.array_equal(trial.replayed, stuck.actions[:3])
        assert (trial.recorded, trial.temperature, trial.seconds) == (2, 1.0, 0.5)
    moving = replace(stuck, resting=np.zeros(6, bool))
    assert moving.stalled == 6
    lengths = {len(trial.replayed) for trial in branch(moving, SETTINGS)}
    assert len(lengths) == 1 and lengths < set(range(6))


def test_a_group_is_run_only_where_the_best_tokens_fail(worlds, monkeypatch):
    trials = [Trial(group_seed(0, 0, index), 4 + index, 8, seconds=0.3) for index in range(2)]
    # The episodes are too short to succeed.
    for group, trial in zip(run_groups(worlds, trials, SETTINGS), trials):
        assert group.greedy.trial == trial and not group.is_mixed
        assert [one.trial.member for one in group.members] == [8, 9, 10, 11, 12]
        assert not group.rewards.any()
    assert not any(group.members for group in run_groups(worlds, trials, None))
    monkeypatch.setattr(Episode, 'succeeded', True)
    assert not any(group.members for group in run_groups(worlds, trials, SETTINGS))


def short_trials(trials):
    return lambda training: [replace(trial, seconds=0.5) for trial in trials(training)]


def outcomes(group):
    return [int(one.tokens.sum()) % 2 for one in group.members]


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path, monkeypatch):
    # Episodes of half a second do not succeed, so what members did decides.
    monkeypatch.setattr(Reinforcement, 'trials', short_trials(Reinforcement.trials))
    monkeypatch.setattr(Group, 'successes', property(lambda group: sum(outcomes(group))))
    monkeypatch.setattr(Group, 'rewards', property(lambda group: np.array(outcomes(group), float)))
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


def test_scenes_with_failures_are_revisited_where_there_is_something_to_learn(tmp_path):
    training = make(tmp_path, replace(PLAN, scenes=4, revisited=2, focus='pick'))
    training._write_record(1, {'groups': [[7, 9, 3, 8], [8, 2, 8, 8], [9, 8, 0, 8]]})
    training.step = 1
    found = training.trials()
    assert {(one.scene, one.task) for one in found[:2]} == {(7, 9), (8, 2)}
    assert all(one.member == 4 and not one.recorded and one.patience == 1.2 for one in found)
    assert len({(one.scene, one.task) for one in found}) == 6


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
    (['--rl', '2', '--start', 's', '--out', 'x', '--group', '0'], '--group: got 0, it must be at'),
    (['--rl', '2', '--start', 's', '--out', 'x', '--temperature', '0'], '--temperature: got 0.0'),
    (['--rl', '2', '--start', 's', '--out', 'x', '--kl', 'nan'], '--kl: got nan'),
    (['--rl', '2', '--start', 's', '--out', 'x', '--seconds', '0'], '--seconds: got 0.0'),
    (['--rl', '2', '--start', 's', '--out', 'x', '--sampled', '0'], '--sampled: got 0'),
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
