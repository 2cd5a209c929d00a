# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What must be true of the machine before a transport is used."""

from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
import re
import shutil
import subprocess
import sys
from typing import Any

from vla_ros.errors import UnsupportedError
from vla_ros.transport.iceoryx import refuse_without
from vla_ros.transport.orphans import remove_orphans
from vla_ros.transport.orphans import SHARED_MEMORY
from vla_ros.transport.plan import Check
from vla_ros.transport.plan import ConfigurationCheck
from vla_ros.transport.plan import MIB
from vla_ros.transport.plan import MiddlewareCheck
from vla_ros.transport.plan import ProfileCheck
from vla_ros.transport.plan import ReceiveBufferCheck
from vla_ros.transport.plan import SharedMemoryCheck

_RECEIVE_BUFFER = Path('/proc/sys/net/core/rmem_max')
_ASK_MIDDLEWARE = 'import rclpy; print(rclpy.get_rmw_implementation_identifier())'
# Seconds in which rclpy must have come up; half a one, but from a cold disk or on a busy machine.
_IMPORT_LIMIT = 15.0


def make_check(check: Check, environment: Mapping[str, str]) -> str:
    """
    Make one check.

    :returns: what will not work well, empty if nothing.
    :raises UnsupportedError: what will not work at all.
    """
    return _CHECKS[type(check)](check, environment)


def _check_middleware(check: MiddlewareCheck, environment: Mapping[str, str]) -> str:
    try:
        completed = subprocess.run([sys.executable, '-c', _ASK_MIDDLEWARE], env=dict(environment),
                                   capture_output=True, text=True, timeout=_IMPORT_LIMIT)
    except subprocess.TimeoutExpired:
        raise UnsupportedError('middleware', 'rclpy does not come up',
                               'run: python3 -c "import rclpy"') from None
    found = completed.stdout.strip()
    if completed.returncode:
        raise UnsupportedError(f'middleware {check.allowed[0]}',
                               f'it cannot be loaded: {last_line(completed.stderr)}',
                               f'install it: sudo apt install {check.package}')
    if found not in check.allowed:
        raise UnsupportedError(
            f'middleware {check.allowed[0]}', f'this rclpy is bound to {found} and ignores '
            'RMW_IMPLEMENTATION', 'use a ROS 2 installation with '
            f'{check.package}, or transport:=fastrtps')
    return ''


def _check_shared_memory(check: SharedMemoryCheck, environment: Mapping[str, str]) -> str:
    remove_orphans()
    problem = shared_memory_shortage(check.needed)
    if not problem:
        return ''
    # Small images arrive nevertheless, so this is no reason not to start.
    return (f'{check.user} {problem}: without them Fast DDS uses the network, where images of '
            f'more than about 0.5 MB get lost; {MORE_SHARED_MEMORY}')


#: What to do where there is too little.
MORE_SHARED_MEMORY = ('in a container run with --shm-size=1g, else sudo mount -o '
                      'remount,size=2g /dev/shm, or give a smaller frame:=WIDTHxHEIGHT')


def shared_memory_shortage(needed: int) -> str:
    """Describe a shortage of shared memory, for a number of bytes; empty if there is none."""
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return f'need {needed / MIB:.0f} MiB of /dev/shm, which is not there'
    if free >= needed:
        return ''
    return f'need {needed / MIB:.0f} MiB of /dev/shm, {free / MIB:.0f} MiB are free'


def _check_receive_buffer(check: ReceiveBufferCheck, environment: Mapping[str, str]) -> str:
    try:
        granted = int(_RECEIVE_BUFFER.read_text(encoding='ascii'))
    except (OSError, ValueError):
        return ''
    if granted >= check.needed:
        return ''
    return (f'frames of {check.frame} will get lost: net.core.rmem_max is {granted} bytes; '
            f'run: sudo sysctl -w net.core.rmem_max={max(64 * MIB, 2 * check.needed)}')


def _check_profile(check: ProfileCheck, environment: Mapping[str, str]) -> str:
    text = _read('Fast DDS profile', check.path, 'correct or unset the variable that names it')
    sizes = [int(size) for size in re.findall(r'<segment_size>\s*(\d+)\s*<', text)]
    if sizes and max(sizes) >= check.segment:
        return ''
    return (f'{check.path} has no shared-memory transport with a segment_size of '
            f'{check.segment} bytes: best-effort images larger than half of its segment '
            '(512 KiB if it names none) get lost')


def _check_configuration(check: ConfigurationCheck, environment: Mapping[str, str]) -> str:
    refuse_without(check.element, _read('CYCLONEDDS_URI', check.path, 'correct or unset it'))
    return ''


def _read(what: str, path: Path, remedy: str) -> str:
    """Read a file of the user's."""
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UnsupportedError(f'{what} {path}', f'it cannot be read: {error}', remedy) from None


_CHECKS: dict[type, Callable[[Any, Mapping[str, str]], str]] = {
    MiddlewareCheck: _check_middleware,
    SharedMemoryCheck: _check_shared_memory,
    ReceiveBufferCheck: _check_receive_buffer,
    ProfileCheck: _check_profile,
    ConfigurationCheck: _check_configuration,
}


def last_line(text: str) -> str:
    """Return the last line of what a process printed, which usually says why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else 'it says nothing'
