# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The worker loads a policy, infers the newest sample, and can be stopped."""

from dataclasses import dataclass
import queue
import threading

import pytest

from vla_ros.control.worker import NewestSlot
from vla_ros.control.worker import Worker
from vla_ros.errors import Cancelled
from vla_ros.util.progress import ignore_progress

DEADLINE = 20.0


@dataclass
class Policy:
    """A policy with the attribute that the worker reads."""

    spec: str = 'spec'


def test_a_slot_keeps_the_newest_sample_and_counts_dropped_ones():
    slot = NewestSlot()
    for sample in (1, 2, 3):
        slot.put(sample)
    assert slot.take() == 3
    assert slot.dropped == 2
    slot.put(4)
    assert slot.take() == 4
    assert slot.dropped == 2


def test_a_closed_slot_releases_the_waiting_thread():
    """Later samples are not taken."""
    slot = NewestSlot()
    taken = queue.Queue()
    thread = threading.Thread(target=lambda: taken.put(slot.take()))
    thread.start()
    slot.close()
    assert taken.get(timeout=DEADLINE) is None
    thread.join()
    slot.put(1)
    assert slot.take() is None


def test_loading_and_inference_run_in_one_thread():
    """CUDA graphs need this."""
    threads = queue.Queue()

    def load(progress):
        progress(0.5, 'half')
        threads.put(threading.current_thread())
        return Policy()

    reports = []
    worker = Worker(load, lambda policy, sample: threads.put(threading.current_thread()),
                    lambda *progress: reports.append(progress))
    assert worker.wait_loaded() == 'spec'
    worker.put(1)
    assert threads.get(timeout=DEADLINE) is threads.get(timeout=DEADLINE)
    assert reports == [(0.5, 'half')]
    assert worker.stop(DEADLINE)


def test_a_busy_worker_drops_all_samples_but_the_newest():
    inferred, begun, go_on = queue.Queue(), queue.Queue(), threading.Semaphore(0)

    def infer(policy, sample):
        begun.put(sample)
        assert go_on.acquire(timeout=DEADLINE)
        inferred.put(sample)

    worker = Worker(lambda progress: Policy(), infer, ignore_progress)
    worker.put(0)
    assert begun.get(timeout=DEADLINE) == 0
    for sample in range(1, 10):
        worker.put(sample)
    go_on.release(2)
    assert [inferred.get(timeout=DEADLINE) for _ in range(2)] == [0, 9]
    assert worker.dropped == 8
    assert worker.stop(DEADLINE)


def test_an_inference_that_raises_does_not_end_the_worker():
    """The next sample is inferred."""
    inferred = queue.Queue()

    def infer(policy, sample):
        inferred.put(sample)
        raise RuntimeError('a mistake')

    worker = Worker(lambda progress: Policy(), infer, ignore_progress)
    for sample in (1, 2):
        worker.put(sample)
        assert inferred.get(timeout=DEADLINE) == sample
    assert worker.stop(DEADLINE)


def test_an_error_of_loading_is_raised_in_the_waiting_thread():
    def load(progress):
        raise ValueError('no such thing')

    worker = Worker(load, print, ignore_progress)
    with pytest.raises(ValueError, match='no such thing'):
        worker.wait_loaded()
    assert worker.stop(DEADLINE)


def test_loading_is_cancelled_at_its_next_report_of_progress():
    begun = threading.Event()

    def load(progress):
        while True:
            progress(0.0, 'for ever')
            begun.set()

    worker = Worker(load, print, ignore_progress)
    assert begun.wait(DEADLINE)
    assert worker.stop(DEADLINE)
    with pytest.raises(Cancelled):
        worker.wait_loaded()


def test_hanging_loading_does_not_block_a_stop():
    begun, forever = threading.Event(), threading.Event()

    def load(progress):
        begun.set()
        assert forever.wait(DEADLINE)
        return Policy()

    worker = Worker(load, print, ignore_progress)
    assert begun.wait(DEADLINE)
    assert not worker.stop(0.0)
    with pytest.raises(Cancelled):
        worker.wait_loaded()
    forever.set()
    assert worker.stop(DEADLINE)
