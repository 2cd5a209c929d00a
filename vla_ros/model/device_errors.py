# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""CUDA errors that a process does not recover from."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vla_ros.errors import DeviceLostError


@contextmanager
def device_errors(device: torch.device,
                  synchronize: Callable[[torch.device], None] | None = None) -> Iterator[None]:
    """
    Convert a sticky CUDA error to one that says so.

    After an illegal address or a failed device assertion every CUDA call of the process fails.
    Memory that runs out, and errors of the caller, leave the device usable.

    :param synchronize: waits for a device and raises its pending error, for tests.
    :raises DeviceLostError: the device still reports an error after the one that was raised.
    """
    try:
        yield
    except RuntimeError as error:
        if device.type != 'cuda' or isinstance(error, torch.OutOfMemoryError):
            raise
        try:
            (synchronize or torch.cuda.synchronize)(device)
        except RuntimeError:
            raise DeviceLostError(str(device), error) from error
        raise
