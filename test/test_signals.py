# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A signal ends the wait, whichever thread of the process receives it."""

from queue import SimpleQueue
import signal
import threading

from vla_ros.util.signals import wait_for_item


def test_a_signal_that_another_thread_receives_ends_the_wait_of_the_main_thread():
    ended = SimpleQueue()
    before = signal.signal(signal.SIGUSR1, lambda *_: ended.put('noted'))
    try:
        # Sent to another thread, it does not interrupt the wait of the main thread.
        thread = threading.Timer(0.3, lambda: signal.pthread_kill(
            threading.get_ident(), signal.SIGUSR1))
        thread.start()
        assert wait_for_item(ended) == 'noted'
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_item_that_is_already_queued_is_returned_at_once():
    queue = SimpleQueue()
    queue.put(None)
    assert wait_for_item(queue) is None
