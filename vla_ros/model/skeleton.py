# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Modules that have shapes and no values yet: loading gives them theirs."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from typing import Optional

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


@contextmanager
def skeleton() -> Iterator[None]:
    """
    Construct modules on the meta device, and draw no first values for them.

    Even there torch draws them, and to draw from a normal distribution it imports its compiler,
    which takes as long as importing torch.
    """
    with torch.device('meta'), _NothingIsDrawn():
        yield


def give_memory(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Give a skeleton memory in which anything stands, and make it ready for inference."""
    # As to_empty does; but that one makes torch import a computer algebra system.
    module.load_state_dict({name: torch.empty(tensor.shape, dtype=dtype, device=device)
                            for name, tensor in module.state_dict().items()}, assign=True)
    module.requires_grad_(False).eval()


class _NothingIsDrawn(TorchFunctionMode):
    """Leaves tensors alone that :mod:`torch.nn.init` is asked to fill."""

    def __torch_function__(self, function: Callable[..., Any], types: Any,
                           arguments: tuple[Any, ...] = (),
                           keywords: Optional[dict[str, Any]] = None) -> Any:
        keywords = keywords or {}
        if getattr(function, '__module__', '') == 'torch.nn.init':
            return arguments[0] if arguments else keywords['tensor']
        return function(*arguments, **keywords)
