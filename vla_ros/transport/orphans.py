# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What Fast DDS leaves in shared memory when a process is killed; nobody else removes it."""

from contextlib import suppress
import fcntl
import os
from pathlib import Path
import re
import time

#: Where Linux keeps it.
SHARED_MEMORY = Path('/dev/shm')
# Fast DDS makes a lock file and locks it a moment later: nobody may try the lock in between.
_LEAST_AGE = 10.0
# As Fast DDS names it; other files belong to others.
_LOCK = re.compile('fastdds_[0-9a-f]{16}_el')


def is_locked(path: Path) -> bool:
    """Return whether a process holds a lock file."""
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


def find_orphans(folder: Path = SHARED_MEMORY) -> dict[Path, int]:
    """
    Find the segments whose owner is gone: each participant locks a file beside its own.

    :returns: the bytes of each.
    """
    latest = time.time() - _LEAST_AGE
    found = {}
    for lock in folder.glob('fastdds_*_el'):
        if not _LOCK.fullmatch(lock.name):
            continue
        segment = lock.with_name(lock.name.removesuffix('_el'))
        with suppress(OSError):  # its owner has just ended as it should
            if lock.stat().st_mtime <= latest and not is_locked(lock):
                found[segment] = segment.stat().st_size if segment.exists() else 0
    return found


def remove_orphans(folder: Path = SHARED_MEMORY) -> int:
    """Remove the segments whose owner is gone; return the bytes that were in them."""
    freed = 0
    for segment, size in find_orphans(folder).items():
        with suppress(OSError):  # someone else was faster, or it is another user's
            segment.unlink(missing_ok=True)
            segment.with_name(f'{segment.name}_el').unlink()
            freed += size
    return freed
