# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Action tokens and dataset statistics: from token ids to numbers with units."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vla_ros.data.dataset_statistics import read_bounds
from vla_ros.data.dataset_statistics import StatisticsError
from vla_ros.errors import UnnormKeyError


@dataclass(frozen=True)
class ActionTokenizer:
    """
    Maps actions in [-1, 1] to the last tokens of the vocabulary and back.

    Source: ``prismatic/vla/action_tokenizer.py`` and ``predict_action`` of openvla/openvla. The
    interval is cut by ``n_bins`` edges into ``n_bins - 1`` bins; digit 1 (lowest) is the last id.

    :param vocab_size: size of the vocabulary without its padding (32000 for OpenVLA-7B).
    :param n_bins: number of bin edges (256), which is also the number of action tokens.
    """

    vocab_size: int
    n_bins: int = 256

    @cached_property
    def centers(self) -> np.ndarray:
        """Centers of the bins, float64 (n_bins - 1,), ascending."""
        edges = np.linspace(-1.0, 1.0, self.n_bins)
        return (edges[:-1] + edges[1:]) / 2.0

    def is_action(self, token_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return which ids are action tokens, bool of the same shape."""
        ids = np.asarray(token_ids)
        return (ids >= self.vocab_size - self.n_bins) & (ids < self.vocab_size)

    def bins(self, token_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Index of each token's bin, int64; any id is clipped into range as officially."""
        return np.clip(self.vocab_size - np.asarray(token_ids) - 1, 0, self.n_bins - 2)

    def decode(self, token_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Centers of the tokens' bins, float64 in [-1, 1]; ids are clipped as officially."""
        return self.centers[self.bins(token_ids)]

    def encode(self, action: Sequence[float] | np.ndarray) -> np.ndarray:
        """Token ids of a normalised action, int64; values outside [-1, 1] are clipped."""
        edges = np.linspace(-1.0, 1.0, self.n_bins)
        digits = np.digitize(np.clip(np.asarray(action, np.float64), -1.0, 1.0), edges)
        return self.vocab_size - digits


@dataclass(frozen=True)
class ActionStatistics:
    """
    The range that -1 and 1 stand for in each dimension of a dataset.

    :param low: float64 (D,), the 1st percentile (``q01``) or least value of the dataset, in its
        units.
    :param high: float64 (D,), the 99th percentile (``q99``) or greatest value.
    :param mask: bool (D,); False leaves the dimension as the model gives it (the gripper).
    :param widening: what the range is made wider by; OpenVLA-OFT scales by high - low + 1e-8.
    """

    low: np.ndarray
    high: np.ndarray
    mask: np.ndarray
    widening: float = 0.0

    def __post_init__(self) -> None:
        """Reject statistics that would scale an action wrongly or not at all."""
        if not (self.low.ndim == 1 and self.low.shape == self.high.shape == self.mask.shape):
            raise StatisticsError(
                'action statistics: q01, q99 and mask must be lists of one length, got '
                f'{self.low.shape}, {self.high.shape} and {self.mask.shape}')
        if self.low.size == 0:
            raise StatisticsError('action statistics: q01 is empty')
        if not (np.isfinite(self.low).all() and np.isfinite(self.high).all()):
            raise StatisticsError('action statistics: q01 and q99 must be finite numbers')
        if (self.low > self.high).any():
            raise StatisticsError('action statistics: the lower end of a range is above the '
                                  f'upper one, {self.low.tolist()} > {self.high.tolist()}')

    @classmethod
    def from_dataset(cls, dataset: Mapping, part: str = 'action',
                     normalization: str = 'bounds_q99',
                     widening: float = 0.0) -> 'ActionStatistics':
        """
        Read one entry of one dataset of ``norm_stats``.

        :param part: ``action`` or ``proprio``.
        :param normalization: ``bounds_q99`` for the percentiles, ``bounds`` for the extremes.
        :raises StatisticsError: numbers are missing or do not fit together.
        """
        return cls(*read_bounds(dataset, part, normalization), widening)

    @property
    def dim(self) -> int:
        """Number of dimensions of an action."""
        return self.low.size

    def unnormalize(self, normalized: np.ndarray) -> np.ndarray:
        """Scale (…, D) from [-1, 1] to the dataset's units, float64 (…, D)."""
        span = self.high - self.low + self.widening
        scaled = 0.5 * (normalized + 1.0) * span + self.low
        return np.where(self.mask, scaled, normalized)

    def normalize(self, values: np.ndarray) -> np.ndarray:
        """Scale (…, D) from the dataset's units to [-1, 1], clipped as officially."""
        span = self.high - self.low + self.widening
        scaled = np.where(self.mask, 2.0 * (values - self.low) / span - 1.0, values)
        return np.clip(scaled, -1.0, 1.0)


def choose_dataset(norm_stats: Mapping[str, Mapping], unnorm_key: str | None) -> str:
    """
    Resolve the name of the dataset whose statistics apply.

    :raises UnnormKeyError: the name is unknown, or none is given and there is not exactly one.
    """
    available = sorted(norm_stats)
    if unnorm_key is None and len(available) == 1:
        return available[0]
    if unnorm_key is None or unnorm_key not in norm_stats:
        raise UnnormKeyError(unnorm_key, available)
    return unnorm_key
