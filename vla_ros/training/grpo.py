# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
GRPO: the advantage of an episode is its reward compared with others of the same scene.

Z. Shao et al., "DeepSeekMath" (2024); the asymmetric clipping is that of Q. Yu et al., "DAPO"
(2025); that rewards are not divided by their deviation is from Z. Liu et al., "Understanding
R1-Zero-Like Training" (2025). There is no critic.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Clipping:
    """
    How far the new policy may move away from the one that sampled.

    :param low: a ratio below ``1 - low`` gets no further gradient.
    :param high: nor does one above ``1 + high``.
    :param kl: weight of the divergence from the reference; 0 for none.
    """

    low: float = 0.2
    high: float = 0.28
    kl: float = 0.0


@dataclass(frozen=True)
class PolicyLoss:
    """
    The loss of a batch, and how far the policy has moved: each a scalar.

    :param clipped: part of the tokens whose ratio is clipped.
    :param divergence: estimate of the KL divergence from the reference, nats a token; 0 without.
    """

    loss: Tensor
    clipped: Tensor
    divergence: Tensor


def group_advantages(rewards: np.ndarray) -> np.ndarray:
    """
    Compare the rewards of a group with their mean.

    Divided by their deviation, a group with one failure would weigh more than one of halves.

    :param rewards: float64 (G,).
    :returns: float64 (G,).
    """
    centered: np.ndarray = rewards - rewards.mean()
    return centered


def policy_loss(new: Tensor, old: Tensor, advantages: Tensor, valid: Tensor, clipping: Clipping,
                reference: Tensor | None = None) -> PolicyLoss:
    """
    Return the clipped loss, the mean over the valid tokens.

    :param new: float32 (B, D), log-probabilities of the sampled tokens.
    :param old: float32 (B, D), those of the policy that sampled them.
    :param advantages: float32 (B,), of the episode that each action belongs to.
    :param valid: bool (B, D); other tokens have no effect. At least one is valid.
    :param reference: float32 (B, D), log-probabilities of the policy to stay close to.
    """
    # Before the exponential: what is masked may be infinite, and zero times that is NaN.
    change = torch.where(valid, new - old, 0.0)
    ratio = change.exp()
    advantages = advantages[:, None]
    bounded = ratio.clamp(1 - clipping.low, 1 + clipping.high)
    gain = torch.minimum(ratio * advantages, bounded * advantages)
    count = valid.sum()
    loss = -(gain * valid).sum() / count
    clipped = ((bounded * advantages < ratio * advantages) & valid).sum() / count
    divergence = torch.zeros_like(loss)
    if reference is not None:
        # J. Schulman's unbiased estimator, never negative.
        away = torch.where(valid, reference - new, 0.0)
        divergence = ((away.exp() - away - 1) * valid).sum() / count
        loss = loss + clipping.kl * divergence
    return PolicyLoss(loss, clipped.detach(), divergence.detach())
