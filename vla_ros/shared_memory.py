# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What Fast DDS leaves in shared memory when a process is killed; nobody else removes it."""

import fcntl
import os
from pathlib import Path
import time

#: Where Linux keeps it.
SHARED_MEMORY = Path('/dev/shm')
# Fast DDS makes a lock file and locks it a moment later: nobody may try the lock in between.
_LEAST_AGE = 10.0


def is_locked(path: Path) -> bool:
    """Say whether a process holds a lock file."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # another user's
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def find_orphans(folder: Path = SHARED_MEMORY) -> list[Path]:
    """Find the segments whose owner is gone: each participant locks a file beside its own."""
    latest = time.time() - _LEAST_AGE
    found = []
    for lock in folder.glob('fastdds_????????????????_el'):
        try:
            is_old = lock.stat().st_mtime <= latest
        except FileNotFoundError:
            continue  # its owner has just ended as it should
        if is_old and not is_locked(lock):
            found.append(lock.with_name(lock.name.removesuffix('_el')))
    return found


def remove_orphans(folder: Path = SHARED_MEMORY) -> int:
    """Remove the segments whose owner is gone; return the bytes that were in them."""
    freed = 0
    for segment in find_orphans(folder):
        try:
            freed += segment.stat().st_size
            segment.unlink()
            segment.with_name(f'{segment.name}_el').unlink()
        except OSError:
            continue  # someone else was faster, or it is another user's
    return freed
