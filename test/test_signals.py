# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A wait that a signal ends, whichever thread of the process received it."""

from queue import SimpleQueue
import signal
import threading

from vla_ros.util.signals import wait_for_item


def test_a_signal_that_another_thread_receives_ends_the_wait():
    ended = SimpleQueue()
    before = signal.signal(signal.SIGUSR1, lambda *_: ended.put('noted'))
    try:
        # Straight to another thread: the main thread, in its wait, is not interrupted by it.
        thread = threading.Timer(0.3, lambda: signal.pthread_kill(
            threading.get_ident(), signal.SIGUSR1))
        thread.start()
        assert wait_for_item(ended) == 'noted'
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_present_item_is_returned_at_once():
    queue = SimpleQueue()
    queue.put(None)
    assert wait_for_item(queue) is None
