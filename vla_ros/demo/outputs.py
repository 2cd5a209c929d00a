# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What the demo may overwrite: what a demo wrote."""

from pathlib import Path

from vla_ros.errors import VlaError

#: How the files of a demo begin, or what stands near their beginning.
REPORT_MARK = b'<title>vla_ros demo</title>'
MCAP_MARK = b'vla_ros'
_NEAR = 512


class OutputError(VlaError):
    """A file that would be overwritten, and that is not the demo's."""


def check_own(path: Path, mark: bytes) -> None:
    """
    Make sure that a file is not there, or was written by a demo before.

    :param mark: what it then holds near its beginning.
    :raises OutputError: it is somebody else's.
    """
    if not path.exists() and not path.is_symlink():
        return
    start = b''
    if path.is_file():
        with path.open('rb') as file:
            start = file.read(_NEAR)
    # An empty file is what a demo leaves that was killed at once.
    if mark not in start and not (path.is_file() and not start):
        raise OutputError(f'{path} is there already, and no demo wrote it: give --out another '
                          'folder, or move it away')
