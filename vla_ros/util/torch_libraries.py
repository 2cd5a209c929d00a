# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Brings PyTorch's shared libraries in without stopping the rest of the process."""

import ctypes
import importlib.util
import os
from pathlib import Path

# The order, and the visibility of the first, in which PyTorch itself loads them.
_LIBRARIES = (('libtorch_global_deps.so', ctypes.RTLD_GLOBAL), ('libtorch_python.so', 0))


def preload_torch() -> None:
    """
    Map PyTorch's libraries, which an import after this finds in place.

    An import holds Python's global lock for as long as the dynamic linker works: a second or many
    where gigabytes are not in the page cache. No signal, no callback and no status would get
    through. A call of ``dlopen`` as a foreign function does not hold it. Whatever is wrong with
    the libraries, the import will say.
    """
    spec = importlib.util.find_spec('torch')
    if spec is None or not spec.submodule_search_locations:
        return
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes = [ctypes.c_char_p, ctypes.c_int]
    dlopen.restype = ctypes.c_void_p
    for name, mode in _LIBRARIES:
        library = Path(spec.submodule_search_locations[0], 'lib', name)
        if library.is_file():
            dlopen(os.fsencode(library), os.RTLD_NOW | mode)
