# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Inspects this machine: what is installed, and the state of kernel and environment."""

from collections.abc import Mapping
from dataclasses import dataclass
import importlib
import importlib.metadata
import importlib.util
import os
from pathlib import Path
import platform
import re
import shutil
import sys

from vla_ros.transport.orphans import find_orphans
from vla_ros.transport.orphans import SHARED_MEMORY

_RECEIVE_BUFFER = Path('/proc/sys/net/core/rmem_max')
_NVIDIA_DRIVER = Path('/proc/driver/nvidia/version')

#: Python modules that are checked, and the names of their distributions.
MODULES = {
    'numpy': 'numpy',
    'PIL': 'pillow',
    'safetensors': 'safetensors',
    'tokenizers': 'tokenizers',
    'huggingface_hub': 'huggingface_hub',
    'transformers': 'transformers',
    'flash_attn': 'flash-attn',
    'torch': 'torch',
    'rclpy': 'rclpy',
    'vla_ros_msgs.msg': 'vla_ros_msgs',
    # The package of the name cv-bridge on PyPI is another one and lacks this module.
    'cv_bridge.boost.cv_bridge_boost': 'cv_bridge',
}
# Seconds to import, and not needed for what is asked here.
_NOT_IMPORTED = ('transformers', 'flash_attn', 'huggingface_hub')


@dataclass(frozen=True)
class Module:
    """
    A Python module.

    :param version: from its metadata; ``?`` if it has none, empty if it is not installed.
    :param problem: why it cannot be imported, empty if it can.
    """

    version: str = ''
    problem: str = ''

    @property
    def works(self) -> bool:
        """Whether it is there and can be imported."""
        return bool(self.version) and not self.problem


@dataclass(frozen=True)
class Gpu:
    """A CUDA device; memory in bytes."""

    name: str
    memory: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class Machine:
    """
    The facts that the checks judge.

    :param python: version and path of the interpreter.
    :param cuda: CUDA version that torch was built for, empty for a CPU build or no torch.
    :param driver: version of the NVIDIA kernel driver, empty without one.
    :param attention: name of the attention that ``auto`` takes here, and why; empty without torch.
    :param rmw: middleware that rclpy is bound to, empty without rclpy.
    :param environment: variables of the process.
    :param shared_memory: total and free bytes of /dev/shm, None without it.
    :param orphaned: bytes of it that Fast DDS took for processes that were killed since.
    :param receive_buffer: largest socket buffer that the kernel grants [bytes], None if unknown.
    """

    python: str
    modules: Mapping[str, Module]
    cuda: str
    gpus: tuple[Gpu, ...]
    driver: str
    attention: tuple[str, str]
    rmw: str
    environment: Mapping[str, str]
    shared_memory: tuple[int, int] | None
    orphaned: int
    receive_buffer: int | None


def inspect_machine() -> Machine:
    """Inspect this machine."""
    modules = {name: _inspect_module(name, distribution)
               for name, distribution in MODULES.items()}
    cuda, gpus = _inspect_torch() if modules['torch'].works else ('', ())
    return Machine(
        python=f'{platform.python_version()} ({sys.executable})',
        modules=modules,
        cuda=cuda,
        gpus=gpus,
        driver=parse_driver(_read(_NVIDIA_DRIVER)),
        attention=_choose_attention() if modules['torch'].works else ('', ''),
        rmw=_middleware() if modules['rclpy'].works else '',
        environment=dict(os.environ),
        shared_memory=_shared_memory(),
        orphaned=sum(find_orphans().values()),
        receive_buffer=int(_read(_RECEIVE_BUFFER) or 0) or None)


def parse_driver(text: str) -> str:
    """Find the version in the text of the NVIDIA kernel driver."""
    found = re.search(r'Kernel Module.*?(\d+(?:\.\d+)+)', text)
    return found.group(1) if found else ''


def _inspect_module(name: str, distribution: str) -> Module:
    try:
        if importlib.util.find_spec(name) is None:
            return Module()
        if name not in _NOT_IMPORTED:
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        # It is missing itself, or something that it needs.
        missing = error.name or ''
        if name == missing or name.startswith(f'{missing}.'):
            return Module()
        return Module(_version(distribution), str(error))
    except Exception as error:  # a broken module may raise anything
        return Module(_version(distribution), f'{type(error).__name__}: {error}')
    return Module(_version(distribution))


def _version(distribution: str) -> str:
    # From PyPI the packages of ROS have this prefix.
    for name in (distribution, f'ros-{distribution}'):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return '?'


def _inspect_torch() -> tuple[str, tuple[Gpu, ...]]:
    import torch
    if not torch.cuda.is_available():
        return torch.version.cuda or '', ()
    properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return torch.version.cuda or '', tuple(
        Gpu(one.name, one.total_memory, (one.major, one.minor)) for one in properties)


def _choose_attention() -> tuple[str, str]:
    """Query the model runtime."""
    import torch
    from vla_ros.model.attention import choose_attention
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    dtype = torch.bfloat16 if device.type == 'cuda' else torch.float32
    chosen = choose_attention('auto', device, dtype)
    return chosen.name, chosen.reason


def _middleware() -> str:
    import rclpy
    return rclpy.get_rmw_implementation_identifier()


def _shared_memory() -> tuple[int, int] | None:
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
    except OSError:
        return None
    return usage.total, usage.free


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8')
    except OSError:
        return ''
