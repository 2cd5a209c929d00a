# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The sampler of OFT's diffusion head: deterministic DDIM.

Song et al., "Denoising Diffusion Implicit Models", equation 12 with sigma 0; the schedule is the
cosine one of Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", each beta
at most 0.999. As in the official code the prediction of the clean action is clipped to [-1, 1].
"""

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
import math

import torch
from torch import Tensor

#: Steps that the official training and inference both use.
STEPS = 50


@dataclass(frozen=True)
class Ddim:
    """
    A schedule: as many steps in inference as in training.

    :param alpha_bars: float64 (steps,), cumulative product of 1 - beta, falling.
    """

    alpha_bars: tuple[float, ...]

    @classmethod
    def cosine(cls, steps: int = STEPS) -> 'Ddim':
        """Make the squared-cosine schedule."""
        def power(time: float) -> float:
            return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
        alpha_bars, product = [], 1.0
        for i in range(steps):
            beta = min(1 - power((i + 1) / steps) / power(i / steps), 0.999)
            product *= 1 - beta
            alpha_bars.append(product)
        return cls(tuple(alpha_bars))

    def times(self) -> Iterator[int]:
        """Yield the times in the order of denoising."""
        yield from reversed(range(len(self.alpha_bars)))

    def sample(self, noise: Tensor, predict_noise: Callable[[Tensor, int], Tensor]) -> Tensor:
        """
        Convert noise to a sample.

        :param noise: float32, standard normal.
        :param predict_noise: (noisy sample, time) to the noise in it, of the same shape.
        :returns: float32, of the same shape, in [-1, 1].
        """
        x = noise
        for time in self.times():
            error = predict_noise(x, time).to(x.dtype)
            alpha_bar = self.alpha_bars[time]
            alpha_bar_next = self.alpha_bars[time - 1] if time else 1.0
            clean = (x - math.sqrt(1 - alpha_bar) * error) / math.sqrt(alpha_bar)
            clean = clean.clamp(-1.0, 1.0)
            x = math.sqrt(alpha_bar_next) * clean + math.sqrt(1 - alpha_bar_next) * error
        return x


def encode_time(time: int, dim: int, device: torch.device) -> Tensor:
    """Sines, then cosines, of a time at falling frequencies, float32 (dim,)."""
    half = dim // 2
    frequency = torch.exp(torch.arange(half, device=device, dtype=torch.float32)
                          * (-math.log(10000) / (half - 1)))
    return torch.cat([(time * frequency).sin(), (time * frequency).cos()])
