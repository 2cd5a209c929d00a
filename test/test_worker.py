# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The worker answers the newest sample, and ends when it is told to."""

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
    """As much of a policy as the worker touches."""

    spec: str = 'spec'


def test_the_slot_keeps_the_newest_and_counts_the_rest():
    """Three put, one taken."""
    slot = NewestSlot()
    for sample in (1, 2, 3):
        slot.put(sample)
    assert slot.take() == 3
    assert slot.dropped == 2
    slot.put(4)
    assert slot.take() == 4
    assert slot.dropped == 2


def test_a_closed_slot_releases_the_waiting_thread():
    """And gives nothing more, not even what is in it."""
    slot = NewestSlot()
    taken = queue.Queue()
    thread = threading.Thread(target=lambda: taken.put(slot.take()))
    thread.start()
    slot.close()
    assert taken.get(timeout=DEADLINE) is None
    thread.join()
    slot.put(1)
    assert slot.take() is None


def test_loading_and_inference_share_a_thread():
    """CUDA graphs want it so."""
    threads = queue.Queue()

    def load(progress):
        progress(0.5, 'half')
        threads.put(threading.current_thread())
        return Policy()

    told = []
    worker = Worker(load, lambda policy, sample: threads.put(threading.current_thread()),
                    lambda *progress: told.append(progress))
    assert worker.wait_loaded() == 'spec'
    worker.put(1)
    assert threads.get(timeout=DEADLINE) is threads.get(timeout=DEADLINE)
    assert told == [(0.5, 'half')]
    assert worker.stop(DEADLINE)


def test_a_busy_worker_takes_the_newest_next():
    """What came in meanwhile is dropped, all but the last."""
    answered, begun, go_on = queue.Queue(), queue.Queue(), threading.Semaphore(0)

    def answer(policy, sample):
        begun.put(sample)
        assert go_on.acquire(timeout=DEADLINE)
        answered.put(sample)

    worker = Worker(lambda progress: Policy(), answer, ignore_progress)
    worker.put(0)
    assert begun.get(timeout=DEADLINE) == 0
    for sample in range(1, 10):
        worker.put(sample)
    go_on.release(2)
    assert [answered.get(timeout=DEADLINE) for _ in range(2)] == [0, 9]
    assert worker.dropped == 8
    assert worker.stop(DEADLINE)


def test_an_inference_that_raises_does_not_end_the_worker():
    """The next sample is tried."""
    answered = queue.Queue()

    def answer(policy, sample):
        answered.put(sample)
        raise RuntimeError('a mistake')

    worker = Worker(lambda progress: Policy(), answer, ignore_progress)
    for sample in (1, 2):
        worker.put(sample)
        assert answered.get(timeout=DEADLINE) == sample
    assert worker.stop(DEADLINE)


def test_a_loading_error_reaches_the_waiting_thread():
    """As it was raised."""
    def load(progress):
        raise ValueError('no such thing')

    worker = Worker(load, print, ignore_progress)
    with pytest.raises(ValueError, match='no such thing'):
        worker.wait_loaded()
    assert worker.stop(DEADLINE)


def test_loading_is_cancelled_where_it_reports():
    """The next report of its progress raises."""
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


def test_a_hung_loading_blocks_no_shutdown():
    """Neither who stops the worker nor who waits for the policy."""
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
