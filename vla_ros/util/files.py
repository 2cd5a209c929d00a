# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Read the files that a user names: regular files of a bounded size, and nothing else.

A device, a named pipe or a file without an end would otherwise hang a command or fill the memory,
and a file that git left to Git LFS would be reported as damaged.
"""

import json
import os
from pathlib import Path
import stat

from vla_ros.errors import VlaError

#: Most bytes of a JSON or YAML file; the largest published one, an index, has some hundred kB.
MOST_TEXT = 64 * 2**20

# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: how every pointer file begins.
_POINTER = b'version https://git-lfs.github.com/spec/v1'
_KINDS = ((stat.S_ISDIR, 'a folder'), (stat.S_ISFIFO, 'a named pipe'),
          (stat.S_ISSOCK, 'a socket'), (stat.S_ISCHR, 'a device'), (stat.S_ISBLK, 'a device'))


class FileError(VlaError):
    """A file that is missing, not a regular file, too large, or does not hold what it must."""

    def __init__(self, path: Path, problem: str) -> None:
        """
        Describe the problem.

        :param problem: a sentence whose subject is the file, without its name.
        """
        super().__init__(f'{path}: {problem}')
        self.path = path
        self.problem = problem


def check_regular(path: Path) -> int:
    """
    Check a file that a library is about to open by its name.

    :returns: its size in bytes.
    :raises FileError: it is missing, empty, not a regular file, or a Git LFS pointer.
    """
    file = _open(path)
    try:
        size = os.fstat(file).st_size
        _check_pointer(path, os.read(file, len(_POINTER)))
    except OSError as error:
        raise FileError(path, f'cannot be read: {error.strerror}') from None
    finally:
        os.close(file)
    if not size:
        raise FileError(path, 'is empty')
    return size


def read_bytes(path: Path, most: int) -> bytes:
    """
    Read a whole file.

    :param most: bytes that it may have.
    :raises FileError: it is missing, not a regular file, too large, or a Git LFS pointer.
    """
    try:
        with open(_open(path), 'rb') as file:
            # The size of a file in /proc is zero whatever it holds: what was read counts.
            content = file.read(most + 1)
    except OSError as error:
        raise FileError(path, f'cannot be read: {error.strerror}') from None
    if len(content) > most:
        raise FileError(path, f'has more than the {most / 2**20:g} MiB that such a file may have')
    _check_pointer(path, content)
    return content


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """
    Read a whole file of UTF-8 text.

    :raises FileError: as :func:`read_bytes`, and if it is no such text.
    """
    try:
        return read_bytes(path, most).decode('utf-8')
    except UnicodeDecodeError as error:
        raise FileError(path, f'cannot be read: it is not UTF-8 text ({error.reason} at byte '
                              f'{error.start})') from None


def read_json_object(path: Path) -> dict:
    """
    Read one JSON object.

    :raises FileError: the file cannot be read, or holds something else.
    """
    text = read_text(path)
    if not text.strip():
        raise FileError(path, 'is empty')
    try:
        content = json.loads(text)
    except RecursionError:
        raise FileError(path, 'cannot be read: it is nested too deeply') from None
    except ValueError as error:  # not JSON, or a number of too many digits
        raise FileError(path, f'cannot be read: {error}') from None
    if not isinstance(content, dict):
        raise FileError(path, 'must hold a JSON object')
    return content


def _open(path: Path) -> int:
    """Open a regular file; what is none is never waited for."""
    try:
        # Asked first, because opening alone can change a device, and again for what was opened.
        _check_kind(path, os.stat(path).st_mode)
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if path.is_symlink():
            raise FileError(path, f'is a link to {os.readlink(path)}, which is missing') from None
        raise FileError(path, 'is missing') from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(path, f'cannot be read: {getattr(error, "strerror", None) or error}') \
            from None
    try:
        _check_kind(path, os.fstat(file).st_mode)
    except FileError:
        os.close(file)
        raise
    return file


def _check_kind(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), 'something else')
        raise FileError(path, f'is {kind}; it must be a regular file')


def _check_pointer(path: Path, start: bytes) -> None:
    if start.startswith(_POINTER):
        raise FileError(path, 'is a Git LFS pointer, not the file itself: run "git lfs pull" in '
                              'the folder, or download it again')
