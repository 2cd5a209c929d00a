# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_panel`` as a process of its own."""

from contextlib import contextmanager
import os
import signal
import subprocess
import sys


@contextmanager
def panel_process(domain, *arguments, number=signal.SIGINT, **environment):
    """Start the page on a ROS domain and yield its port; end it by a signal, with status 0."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'vla_ros.cli.panel', '--port', '0', *arguments],
        stdout=subprocess.PIPE, text=True, env={
            **os.environ, 'ROS_DOMAIN_ID': str(domain),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', **environment})
    try:
        line = process.stdout.readline()
        assert line.startswith('vla_panel: open http'), line
        yield int(line.rsplit(':', 1)[1].rstrip('/\n'))
        process.send_signal(number)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
