# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Construction on the meta device: modules get shapes first, memory and values when loaded."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


@contextmanager
def on_meta_device() -> Iterator[None]:
    """
    Construct modules on the meta device, without initial values.

    torch draws initial values on the meta device, too. To draw from a normal distribution it
    imports its compiler, which takes as long as importing torch.
    """
    with torch.device('meta'), _SkipInitialisation():
        yield


def materialize(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Allocate the memory of a module, uninitialised, and switch the module to inference."""
    # Like to_empty, which would import a computer algebra system.
    module.load_state_dict({name: torch.empty(tensor.shape, dtype=dtype, device=device)
                            for name, tensor in module.state_dict().items()}, assign=True)
    module.requires_grad_(False).eval()


class _SkipInitialisation(TorchFunctionMode):
    """Turns the functions of :mod:`torch.nn.init` into no-operations."""

    def __torch_function__(self, function: Callable[..., Any], types: Any,
                           arguments: tuple[Any, ...] = (),
                           keywords: dict[str, Any] | None = None) -> Any:
        keywords = keywords or {}
        if getattr(function, '__module__', '') == 'torch.nn.init':
            return arguments[0] if arguments else keywords['tensor']
        return function(*arguments, **keywords)
