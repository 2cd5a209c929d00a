# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
One batch, in parts: one after the other on a device, and in several processes at once.

``torchrun`` and ``accelerate launch`` start the processes and tell each by the same environment
variables who it is. The size of a batch is that of all its parts, so what is learnt does not
depend on how it is divided.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
import os
from typing import TypeVar

import torch
from torch import distributed
from torch import nn

from vla_ros.errors import ParameterError
from vla_ros.model.prepare import choose_device

T = TypeVar('T')

PRECISIONS = ('float32', 'bf16')


@dataclass(frozen=True)
class Team:
    """
    The processes that train together, and how each computes.

    :param rank: which of them this is.
    :param accumulate: parts of a batch that one process computes one after the other.
    :param precision: one of ``PRECISIONS``; with ``bf16`` products are computed in bfloat16,
        while weights, optimiser and sums stay what they are.
    """

    rank: int = 0
    size: int = 1
    accumulate: int = 1
    device: torch.device = torch.device('cpu')
    precision: str = 'float32'

    @property
    def is_leader(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    @property
    def share(self) -> float:
        """What one part is of a batch."""
        return 1 / (self.size * self.accumulate)

    def parts(self, batch: int) -> list[slice]:
        """
        Give the parts of a batch that this process computes.

        :raises ParameterError: it cannot be divided so.
        """
        count = self.size * self.accumulate
        if batch % count:
            raise ParameterError('--batch', batch, f'a multiple of {count}: {self.size} '
                                                   'processes times --accumulate '
                                                   f'{self.accumulate}')
        length = batch // count
        first = self.rank * self.accumulate
        return [slice(index * length, (index + 1) * length)
                for index in range(first, first + self.accumulate)]

    def autocast(self) -> AbstractContextManager:
        """Compute in the precision that was chosen."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == 'bf16')

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes; each computed its share of the mean."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        torch._foreach_copy_(gradients, [
            part.view_as(gradient) for part, gradient in
            zip(together.split([gradient.numel() for gradient in gradients]), gradients)])

    def add(self, values: Mapping[str, float]) -> dict[str, float]:
        """Add up numbers of all processes, by name."""
        if self.size == 1:
            return dict(values)
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return dict(zip(values, total.tolist()))

    def leader_first(self, work: Callable[[], T]) -> T:
        """Do something once the leader has done it and left it on disk for the others."""
        if self.is_leader:
            done = work()
            self.wait()
            return done
        self.wait()
        return work()

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier()


def join_team(device: str, precision: str, accumulate: int) -> Team:
    """
    Find out who else trains.

    :param device: ``auto``, ``cpu`` or ``cuda``; each process takes a GPU of its own.
    :raises ParameterError: ``accumulate`` is below 1.
    :raises UnsupportedError: there is no such device.
    """
    if accumulate < 1:
        raise ParameterError('--accumulate', accumulate, 'at least 1')
    found = choose_device(device)
    size, rank = int(os.environ.get('WORLD_SIZE', 1)), int(os.environ.get('RANK', 0))
    if found.type == 'cuda':
        found = torch.device('cuda', int(os.environ.get('LOCAL_RANK', 0)))
        torch.cuda.set_device(found)
    if size > 1 and not distributed.is_initialized():
        # The others wait while the leader draws or plays.
        distributed.init_process_group('nccl' if found.type == 'cuda' else 'gloo',
                                       timeout=timedelta(hours=12))
    return Team(rank, size, accumulate, found, precision)
