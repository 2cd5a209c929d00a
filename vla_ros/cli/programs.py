# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The executables: each imports its command only when it runs.

So a package that is not installed is one line and exit status 2, and never a traceback.
"""

from functools import partial
from importlib import import_module
import sys

from vla_ros.util.packages import missing_package


def run(program: str, module: str, function: str = 'main') -> int:
    """Import the command of an executable, run it, and return its exit status."""
    try:
        return int(getattr(import_module(module), function)())
    except ImportError as error:
        print(missing_package(program, error), file=sys.stderr)
        return 2


vla_bench = partial(run, 'vla_bench', 'vla_ros.cli.bench')
vla_dataset = partial(run, 'vla_dataset', 'vla_ros.cli.dataset')
vla_demo = partial(run, 'vla_demo', 'vla_ros.cli.demo')
vla_doctor = partial(run, 'vla_doctor', 'vla_ros.cli.doctor')
vla_eval = partial(run, 'vla_eval', 'vla_ros.cli.eval')
vla_inference_node = partial(run, 'vla_inference_node', 'vla_ros.ros.main', 'program')
vla_panel = partial(run, 'vla_panel', 'vla_ros.cli.panel')
vla_predict = partial(run, 'vla_predict', 'vla_ros.cli.predict')
vla_record = partial(run, 'vla_record', 'vla_ros.cli.record')
vla_serve = partial(run, 'vla_serve', 'vla_ros.cli.serve')
vla_sim = partial(run, 'vla_sim', 'vla_ros.sim.node')
vla_teleop = partial(run, 'vla_teleop', 'vla_ros.cli.teleop')
vla_train = partial(run, 'vla_train', 'vla_ros.cli.train')
vla_transport = partial(run, 'vla_transport', 'vla_ros.cli.transport')
