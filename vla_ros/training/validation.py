# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The validation of a fine-tuning: held-out episodes, token accuracy, L1 error of the action."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vla_ros.data.actions import ActionTokenizer
from vla_ros.errors import ParameterError

#: Its least value makes the best checkpoint.
CRITERION = 'validation_l1'


@dataclass(frozen=True)
class Split:
    """
    The frames of training and of validation.

    :param train: int64 (N,), numbers of frames, ascending.
    :param validation: int64 (M,), likewise; none of an episode of ``train``.
    """

    train: np.ndarray
    validation: np.ndarray


def split_episodes(lengths: Sequence[int], share: float, seed: int,
                   used: np.ndarray | None = None) -> Split:
    """
    Hold out whole episodes, chosen by seed.

    :param lengths: frames of each episode, in the order of the dataset.
    :param share: part of the episodes that is held out, at least one; 0 holds out none.
    :param used: bool (N,), frames that are trained on or held out; None for all.
    :raises ParameterError: fewer than two episodes cannot be split.
    """
    episodes: np.ndarray = np.repeat(np.arange(len(lengths)), lengths)
    if used is None:
        used = np.ones(len(episodes), bool)
    candidates = np.unique(episodes[used])
    count = len(candidates)
    if share and count < 2:
        raise ParameterError('--validation', share, f'0: the dataset has {count} episode, and '
                                                    'validation holds out whole episodes')
    held = round(min(max(share * count, 1), count - 1)) if share else 0
    chosen = candidates[np.random.default_rng([19, seed]).permutation(count)[:held]]
    is_held = np.isin(episodes, chosen)
    return Split(np.flatnonzero(used & ~is_held), np.flatnonzero(used & is_held))


def sum_errors(logits: torch.Tensor, targets: torch.Tensor,
               tokenizer: ActionTokenizer) -> dict[str, float]:
    """
    Compare predicted action tokens with the right ones.

    Source: ``action_accuracy`` and ``action_l1_loss`` of ``vla-scripts/finetune.py``: the L1 error
    is that of the normalised action.

    :param logits: (T, V), of the labelled tokens.
    :param targets: int64 (T,), the labels; those that are no action tokens do not count.
    :returns: sums over the action tokens: ``count``, ``accuracy`` (correct ones) and ``l1``.
    """
    predicted, right = logits.argmax(-1).cpu().numpy(), targets.cpu().numpy()
    actions = tokenizer.is_action(right)
    predicted, right = predicted[actions], right[actions]
    return {'count': float(actions.sum()), 'accuracy': float((predicted == right).sum()),
            'l1': float(np.abs(tokenizer.decode(predicted) - tokenizer.decode(right)).sum())}


def best_step(curve: Sequence[dict[str, float]]) -> int | None:
    """Return the step with the least validation error so far; None before the first validation."""
    found = [(row[CRITERION], step) for step, row in enumerate(curve, 1) if CRITERION in row]
    return min(found)[1] if found else None


def is_stalled(curve: Sequence[dict[str, float]], patience: int) -> bool:
    """Return whether the last ``patience`` validations brought no improvement."""
    steps = [step for step, row in enumerate(curve, 1) if CRITERION in row]
    best = best_step(curve)
    return best is not None and sum(step > best for step in steps) >= patience
