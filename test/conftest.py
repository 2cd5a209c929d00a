# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Fixtures that several test modules share."""

from contextlib import suppress
from importlib import import_module
import os
import signal
import sys

from goldens import SPEC
from llama_tokenizer import llama_tokenizer
import pytest

import vla_ros
import vla_ros.model  # noqa: F401  sets how OpenMP waits, before any test loads torch
from vla_ros.transport.orphans import remove_orphans
from vla_ros.util.tiny_checkpoint import write_checkpoint

# For the small networks of tests a second thread only costs time. The variable is read when torch
# is loaded, here and in every process of a test.
os.environ.setdefault('OMP_NUM_THREADS', '1')

# Before any test draws: Mesa's LLVM and triton's work together only in this order.
with suppress(ImportError):
    import_module('triton')


def pytest_report_header():
    """Name the copy of the package that is tested: that of a build, or the sources."""
    return f'vla_ros {vla_ros.__version__} from {vla_ros.__path__[0]}'


def pytest_sessionfinish():
    """Remove shared memory of killed processes."""
    remove_orphans()


@pytest.hookimpl(hookwrapper=True)
def pytest_pycollect_makemodule(module_path, parent):
    """
    Keep one module that cannot be imported from taking all others with it.

    launch_testing's plugin imports each module before pytest does, outside of what catches errors
    there: a module-level ``importorskip`` would skip every test there is, without a word.
    """
    outcome = yield
    if outcome.excinfo is not None:
        # Imported again, now as pytest does, it is skipped or reported on its own.
        outcome.force_result(pytest.Module.from_parent(parent, path=module_path))


@pytest.fixture(autouse=True)
def signal_handlers():
    """Check that a test leaves the signals' handlers as they were: the next one may need them."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


def pytest_runtest_setup():
    """Reset the state of accelerate: precision, number of microbatches."""
    # Not a fixture: those of a module are set up before one of a test.
    state = sys.modules.get('accelerate.state')
    if state is not None:
        state.AcceleratorState._reset_state()
        state.GradientState._reset_state()


@pytest.fixture(scope='session')
def golden_weights(tmp_path_factory):
    """Write the checkpoint of the golden outputs, without a tokenizer."""
    folder = tmp_path_factory.mktemp('golden_weights')
    write_checkpoint(SPEC, folder)
    return folder


@pytest.fixture(scope='session')
def golden_checkpoints(tmp_path_factory):
    """Write the golden checkpoint in each way of storing it, with the LLaMA tokenizer."""
    tokenizer = llama_tokenizer()
    folders = {}
    for name, dtype, shards in (('float32', 'float32', 1), ('bfloat16', 'bfloat16', 1),
                                ('sharded', 'bfloat16', 3)):
        folders[name] = tmp_path_factory.mktemp(f'golden_{name}')
        write_checkpoint(SPEC, folders[name], dtype, shards, tokenizer)
    return folders


@pytest.fixture(scope='session')
def oft_checkpoint(golden_checkpoints, tmp_path_factory):
    """Write the golden OpenVLA-OFT checkpoint, with its module files and the LLaMA tokenizer."""
    folder = tmp_path_factory.mktemp('golden_oft')
    write_checkpoint(SPEC, folder, oft=True, tokenizer=golden_checkpoints['float32'])
    return folder
