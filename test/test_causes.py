# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A persistent device error is a fault; an error that may not recur is a hold."""

import pytest

from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.robot.hold import Reason
from vla_ros.safety.causes import hold_of


class AcceleratorError(RuntimeError):
    """Named like an exception of PyTorch."""


class OutOfMemoryError(RuntimeError):
    """Named like an exception of PyTorch."""


def wrapped():
    """Return an exception whose cause is a device error."""
    try:
        try:
            raise RuntimeError('CUDA error: an illegal memory access was encountered')
        except RuntimeError as error:
            raise ValueError('the head failed') from error
    except ValueError as error:
        return error


@pytest.mark.parametrize('error, reason', [
    (AcceleratorError('CUDA error: device-side assert triggered'), Reason.DEVICE_ERROR),
    (RuntimeError('CUDA error: unspecified launch failure'), Reason.DEVICE_ERROR),
    (RuntimeError('CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling x'),
     Reason.DEVICE_ERROR),
    (RuntimeError('cuDNN error: CUDNN_STATUS_EXECUTION_FAILED'), Reason.DEVICE_ERROR),
    (RuntimeError('Triton Error [CUDA]: an illegal memory access was encountered'),
     Reason.DEVICE_ERROR),
    (RuntimeError('HIP error: invalid device function'), Reason.DEVICE_ERROR),
    (wrapped(), Reason.DEVICE_ERROR),
    (OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB'), Reason.OUT_OF_MEMORY),
    (AcceleratorError('CUDA error: out of memory'), Reason.OUT_OF_MEMORY),
    (RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x'), Reason.OUT_OF_MEMORY),
    (MemoryError(), Reason.OUT_OF_MEMORY),
    (RuntimeError('shapes do not fit'), Reason.POLICY_ERROR),
    (VlaError('the server says: CUDA error: device-side assert triggered'), Reason.POLICY_ERROR),
    (ParameterError('a', 1, 'CUDA error'), Reason.POLICY_ERROR)])
def test_an_error_is_classified_as_device_memory_or_policy_error(error, reason):
    hold = hold_of(error)
    assert hold.reason is reason
    assert hold.reason.fatal == (reason is Reason.DEVICE_ERROR)
    assert ('start it again' in hold.detail) == hold.reason.fatal
