# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""For which reason an error holds the arm."""

from collections.abc import Iterator

from vla_ros.errors import describe
from vla_ros.errors import InvalidAction
from vla_ros.errors import MissingInput
from vla_ros.errors import NotFinite
from vla_ros.errors import NotMeasured
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason

_REASONS: tuple[tuple[type[Exception], Reason], ...] = (
    (InvalidAction, Reason.INVALID_TOKENS), (MemoryError, Reason.OUT_OF_MEMORY),
    (NotFinite, Reason.NOT_FINITE), (MissingInput, Reason.MISSING_INPUT),
    (NotMeasured, Reason.STALE_JOINTS))

# This layer does not import torch to know its errors.
_MEMORY_TYPES = {'OutOfMemoryError'}
_MEMORY_TEXTS = ('out of memory', 'CUBLAS_STATUS_ALLOC_FAILED', 'CUDNN_STATUS_ALLOC_FAILED')
_DEVICE_TYPES = {'AcceleratorError', 'DeferredCudaCallError'}
_DEVICE_TEXTS = ('CUDA error', 'cuda runtime error', 'CUDA driver error', 'Triton Error [CUDA]',
                 'CUDNN_STATUS_', 'CUBLAS_STATUS_', 'NCCL error', 'HIP error',
                 'device-side assert', 'illegal memory access', 'unspecified launch failure')


def hold_of(error: BaseException) -> Hold:
    """Return the hold that an error leads to, or the fault."""
    if isinstance(error, Hold):
        return error
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return Hold(reason, describe(error))
    for cause in _chain(error):
        if _is_memory(cause):
            return Hold(Reason.OUT_OF_MEMORY, describe(error))
        if _is_device(cause):
            return Hold(Reason.DEVICE_ERROR, f'{describe(error)}; such an error stays in the '
                        'process: end the node and start it again')
    return Hold(Reason.POLICY_ERROR, describe(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return an error and what has led to it, as a traceback would show."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (
            None if following.__suppress_context__ else following.__context__)


def _is_memory(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & _MEMORY_TYPES) or _is_device(error) and any(
        text in str(error) for text in _MEMORY_TEXTS)


def _is_device(error: BaseException) -> bool:
    if {kind.__name__ for kind in type(error).__mro__} & _DEVICE_TYPES:
        return True
    # A VlaError, which is no RuntimeError, may quote an error of another machine.
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _DEVICE_TEXTS)
