# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""MuJoCo's rendering backend, which has to be chosen before its import."""

from collections.abc import Mapping
import ctypes
from importlib import import_module
from importlib.util import find_spec
import sys

from vla_ros.errors import UnsupportedError

#: What Debian and Ubuntu need where there is neither a display nor a GPU.
INSTALL = 'sudo apt install libegl1 libgl1-mesa-dri'

_EGL_PLATFORM_DEVICE = 0x313F
_MOST_DEVICES = 16


def drawing_variable(environment: Mapping[str, str], platform: str = sys.platform) -> str:
    """
    Choose a value of ``MUJOCO_GL``; empty where the user or MuJoCo itself chooses.

    EGL if it works; else OSMesa, which is slower, if it is there; else nothing is drawn.
    """
    if platform != 'linux' or environment.get('MUJOCO_GL') or environment.get('DISPLAY'):
        return ''
    if egl_works():
        return 'egl'
    return 'osmesa' if _load('libOSMesa.so.8', 'libOSMesa.so.6') else 'disabled'


def load_triton_first() -> None:
    """
    Load triton, where PyTorch may want it later, before anything that draws.

    Both triton and Mesa's software renderer bring an LLVM. A process in which Mesa's came first
    is killed by a segmentation fault as soon as triton is imported, which any optimiser does.
    """
    if 'torch' in sys.modules and find_spec('triton') is not None:
        import_module('triton')


def egl_works() -> bool:
    """Try what MuJoCo will do: find a device, which may be software, and initialise it."""
    egl = _load('libEGL.so.1')
    if egl is None:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    addresses = [egl.eglGetProcAddress(name)
                 for name in (b'eglQueryDevicesEXT', b'eglGetPlatformDisplayEXT')]
    if not all(addresses):
        return False
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    query = ctypes.CFUNCTYPE(ctypes.c_uint, integer, pointer, pointer)(addresses[0])
    display_of = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(addresses[1])
    devices, count = (pointer * _MOST_DEVICES)(), integer(0)
    if not query(_MOST_DEVICES, devices, ctypes.byref(count)):
        return False
    egl.eglInitialize.argtypes = [pointer, pointer, pointer]
    displays = (display_of(_EGL_PLATFORM_DEVICE, device, None)
                for device in devices[:count.value])
    return any(display and egl.eglInitialize(display, None, None) for display in displays)


def cannot_draw(why: str) -> UnsupportedError:
    """Return the error with the packages to install."""
    return UnsupportedError('rendering', f'MuJoCo cannot draw here ({why})', INSTALL)


def _load(*names: str) -> ctypes.CDLL | None:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None
