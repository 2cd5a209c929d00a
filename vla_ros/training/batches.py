# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Batches of a training, made by worker processes ahead of the steps that use them."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset
from torch.utils.data import Sampler

from vla_ros.errors import VlaError

#: What a batch is made of, a function of this alone: kind, step and part.
Key = tuple[str, int, int]
#: Kinds of batches.
TRAIN, VALIDATE = 'train', 'validate'
#: Batches that each worker makes ahead.
_AHEAD = 2


class _Failure:
    """The sentence of an error of a worker, whose class may not be copied to this process."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence


class _Batches(Dataset):
    """Makes the batch of a key; it is copied into every worker."""

    def __init__(self, make: Callable[[Key], tuple[Tensor, ...]]) -> None:
        self._make = make

    def __getitem__(self, key: Key) -> tuple[Key, Any]:
        try:
            return key, self._make(key)
        except VlaError as error:
            # Raised again in the training: the loader would put it into a traceback.
            return key, _Failure(str(error))


class _Keys(Sampler):
    """The keys in the order in which they will be asked for."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = keys

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)


@dataclass(frozen=True)
class FrameBatches:
    """
    Makes the batches of a training on the frames of a dataset, each a function of its key.

    :param read: gives the tensors of frames, by their numbers and a generator for each.
    :param train: int64 (N,), numbers of the frames that are trained on.
    :param validation: int64 (M,), of those that this process validates on.
    :param parts: the microbatches of this process in a batch.
    :param is_augmented: whether ``read`` gets generators.
    """

    read: Callable[[np.ndarray, Sequence[np.random.Generator]], tuple[Tensor, ...]]
    train: np.ndarray
    validation: np.ndarray
    parts: tuple[slice, ...]
    batch: int
    seed: int
    is_augmented: bool

    @property
    def validation_parts(self) -> int:
        """Number of batches of a validation, each as large as a microbatch."""
        return -(-len(self.validation) // self._size)

    @property
    def _size(self) -> int:
        return self.batch // len(self.parts)

    def __call__(self, key: Key) -> tuple[Tensor, ...]:
        """Make a batch."""
        kind, step, part = key
        if kind == VALIDATE:
            return self.read(self.validation[part * self._size:(part + 1) * self._size], ())
        # Drawn for the whole batch, however it is divided.
        rng, count = np.random.default_rng([self.seed, step]), len(self.train)
        rows = self.train[rng.choice(count, self.batch, replace=count < self.batch)]
        random = [np.random.default_rng([self.seed, step, index])
                  for index in range(self.batch)] if self.is_augmented else []
        return self.read(rows[self.parts[part]], random[self.parts[part]])


class BatchStream:
    """Gives batches in the order of their keys; a few of them are made ahead."""

    def __init__(self, make: Callable[[Key], tuple[Tensor, ...]], keys: Iterable[Key],
                 workers: int, is_pinned: bool) -> None:
        """
        Start the workers.

        :param make: gives the tensors of a key; can be copied into another process.
        :param keys: those to come, in order.
        :param workers: processes; 0 makes each batch when it is asked for, in this one.
        :param is_pinned: whether the tensors lie in memory that a GPU copies from directly.
        """
        self._make = make
        # Not forked: a copy of a process with threads and a GPU may hang.
        self._batches = iter(DataLoader(
            _Batches(make), batch_size=None, sampler=_Keys(keys), num_workers=workers,
            prefetch_factor=_AHEAD if workers else None, pin_memory=is_pinned,
            multiprocessing_context='spawn' if workers else None,
            worker_init_fn=_begin if workers else None))

    def take(self, key: Key) -> tuple[Tensor, ...]:
        """
        Return the batch of a key; those before it are passed over.

        :raises VlaError: it cannot be made, for example for a damaged image.
        """
        for found, batch in self._batches:
            if isinstance(batch, _Failure):
                raise VlaError(batch.sentence)
            if tuple(found) == key:
                return tuple(batch)
        return self._make(key)  # it was not announced


def _begin(number: int) -> None:
    """Start in a worker: each has a core, not all of them."""
    torch.set_num_threads(1)
