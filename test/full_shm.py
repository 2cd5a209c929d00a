# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
An arm whose shared memory fills up while it moves, and one that starts where it is full.

To be run with a small, private ``/dev/shm``. It prints ``survived`` at the end.
"""

import os
from pathlib import Path

from arm_harness import Robot
from arm_harness import robot

SHM = Path('/dev/shm')


def fill() -> None:
    """Fill /dev/shm to its last page."""
    with open(SHM / 'filler', 'ab', buffering=0) as filler:
        for size in (1 << 20, 4096):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError:
                continue
    state = os.statvfs(SHM)
    assert state.f_bavail == 0, f'{state.f_bavail} pages are still free'


def check(arm: Robot) -> None:
    """Check that the arm moves, can be stopped, and resumes."""
    arm.wait_for('RUNNING')
    arm.wait_for_motion()
    arm.press()
    arm.wait_for('ESTOP', 'pressed')
    arm.press(False)
    arm.wait_for('ESTOP', 'released')
    assert arm.call('rearm').success
    arm.wait_for('RUNNING')
    arm.wait_for_motion()


def main() -> None:
    """Fill /dev/shm while an arm moves, then start another one."""
    with robot() as (arm, _):
        arm.wait_for('RUNNING')
        arm.wait_for_motion()
        fill()
        check(arm)
    print('went on when it was full', flush=True)
    with robot() as (arm, _):
        check(arm)
    print('survived', flush=True)


if __name__ == '__main__':
    main()
