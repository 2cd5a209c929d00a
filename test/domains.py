# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""ROS domains: each test gets an unused one."""

import itertools
import os
import random

from vla_ros.evaluation.pair import is_free

# With pytest-xdist each worker has a range of domains, as a node joins a domain some time after it
# was found free.
_WORKER = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))
_WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', '1'))
_OURS = range(1 + _WORKER, 102, _WORKERS)
# Runs that share a machine start at different places, and no two tests of one run meet.
_domains = itertools.cycle(random.sample(_OURS, len(_OURS)))


def next_domain() -> int:
    """Return an unused ROS domain."""
    return next(domain for domain in _domains if is_free(domain))
