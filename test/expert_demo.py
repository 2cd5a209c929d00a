# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The demo with the scripted expert instead of the model; arguments: results, logs."""

import os
from pathlib import Path
import sys

from expert_pair import expert_pair

from vla_ros.demo.session import run_session
from vla_ros.demo.session import Session
from vla_ros.transport.local_environment import demo_environment
from vla_ros.util.command_line import run_tool
from vla_ros.worlds.tasks import Task

EPISODES = ((3, Task('reach', 'blue')), (4, Task('pick', 'green')))


def main():
    """Run it and return its exit status."""
    os.environ.update(demo_environment(os.environ))
    folder, logs = map(Path, sys.argv[1:])
    record = run_session(Session(expert_pair(speed=3.0), EPISODES, folder), logs)
    return 0 if all(attempt.succeeded for attempt in record.attempts) else 1


if __name__ == '__main__':
    sys.exit(run_tool('vla_demo', main))
