# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A persistent CUDA error ends the worker; other errors do not."""

import threading

import pytest

from vla_ros.control.worker import Worker
from vla_ros.errors import DeviceLostError
from vla_ros.util.progress import ignore_progress

torch = pytest.importorskip('torch')

from vla_ros.model.device_errors import device_errors  # noqa: E402, I100

CUDA = torch.device('cuda')


def synchronize_with_error(device):
    raise RuntimeError('CUDA error: an illegal memory access was encountered')


def test_a_persistent_cuda_error_is_a_lost_device():
    with pytest.raises(DeviceLostError, match='cuda is lost .* illegal address; restart the node'):
        with device_errors(CUDA, synchronize_with_error):
            raise RuntimeError('illegal address\nCompile with TORCH_USE_CUDA_DSA')


@pytest.mark.parametrize(('device', 'error'), [
    (CUDA, RuntimeError('shapes differ')), (CUDA, torch.OutOfMemoryError('CUDA out of memory')),
    (torch.device('cpu'), RuntimeError('shapes differ')), (CUDA, ValueError('no'))])
def test_errors_without_a_lost_device_are_not_changed(device, error):
    with pytest.raises(type(error)) as raised:
        with device_errors(device, lambda device: None):
            raise error
    assert raised.value is error


def test_out_of_memory_is_not_a_lost_device():
    with pytest.raises(torch.OutOfMemoryError):
        with device_errors(CUDA, synchronize_with_error):
            raise torch.OutOfMemoryError('CUDA out of memory')


def test_the_worker_ends_when_the_device_is_lost(caplog):
    class Policy:
        spec = None

    inferred = threading.Event()

    def infer(policy, sample):
        inferred.set()
        raise DeviceLostError('cuda', RuntimeError('illegal address'))

    worker = Worker(lambda progress: Policy(), infer, ignore_progress)
    worker.put(1)
    worker._thread.join(10)
    assert inferred.is_set() and not worker._thread.is_alive()
    assert 'the device is lost; the worker ends' in caplog.text
