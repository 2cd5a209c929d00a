# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""PyTorch's libraries are loaded without blocking other threads."""

import subprocess
import sys

import pytest

pytest.importorskip('torch', reason='needs torch')

# The thread measures the longest time for which it was blocked.
PRELOAD = """
import sys, threading, time
from vla_ros.util.torch_libraries import preload_torch

longest, done = 0.0, threading.Event()

def watch():
    global longest
    last = time.monotonic()
    while not done.wait(0.001):
        longest, last = max(longest, time.monotonic() - last), time.monotonic()

watcher = threading.Thread(target=watch)
watcher.start()
start = time.monotonic()
preload_torch()
taken = time.monotonic() - start
done.set()
watcher.join()
assert 'torch' not in sys.modules
assert 'libtorch_cpu' in open('/proc/self/maps').read()
assert longest < 0.5 * taken, (longest, taken)
import torch
assert torch.ones(2).sum() == 2
"""


def test_preloading_torch_does_not_block_other_threads():
    # A busy machine may delay the thread once; a lock that is held delays it each time.
    for _ in range(4):
        result = subprocess.run([sys.executable, '-c', PRELOAD], capture_output=True, text=True)
        if result.returncode == 0:
            return
    raise AssertionError(result.stderr)


def test_preloading_without_torch_does_nothing():
    """The import that follows raises the error."""
    code = "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]\n" \
           'from vla_ros.util.torch_libraries import preload_torch; preload_torch()'
    subprocess.run([sys.executable, '-c', code], check=True)
