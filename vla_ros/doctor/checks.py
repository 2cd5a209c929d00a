# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The checks of a machine: each a function from what was seen to a finding."""

from collections.abc import Callable
import re

from vla_ros.doctor.finding import ERROR
from vla_ros.doctor.finding import Finding
from vla_ros.doctor.finding import OK
from vla_ros.doctor.finding import WARNING
from vla_ros.doctor.machine import Machine
from vla_ros.doctor.machine import MODULES
from vla_ros.transport.fast_dds_profile import profile_file
from vla_ros.transport.fast_dds_profile import profile_in_use
from vla_ros.transport.fast_dds_profile import profile_variable
from vla_ros.util.packages import install_command

Check = Callable[[Machine], Finding]

_GIB = 2 ** 30
_MIB = 2 ** 20
#: Oldest versions of what pip brings, as in requirements.txt.
OLDEST = {'numpy': '1.21', 'pillow': '9.0', 'safetensors': '0.4.3', 'tokenizers': '0.19',
          'huggingface_hub': '0', 'transformers': '4.51', 'torch': '2.5'}
# OpenVLA-7B: 7 541 237 184 parameters in bfloat16.
_OPENVLA_BYTES = 2 * 7_541_237_184
# FlashAttention-2 and fast bfloat16 begin with this generation.
_AMPERE = (8, 0)
# One participant with the Fast DDS profile of this package.
_SEGMENT = 64 * _MIB
# With less, CycloneDDS loses images of 1080p.
_RECEIVE_BUFFER = 4 * _MIB


def check_python(machine: Machine) -> Finding:
    """Report the interpreter that would run the node."""
    return Finding('Python', OK, machine.python)


def module_check(name: str, level: str, fix: str | None = None) -> Check:
    """
    Make the check of one Python module.

    :param level: how bad it is if the module is missing.
    :param fix: what helps; None for what requirements.txt brings.
    """
    distribution = MODULES[name]

    def check(machine: Machine) -> Finding:
        module, oldest = machine.modules[name], OLDEST.get(distribution, '0')
        remedy = install_command() if fix is None else fix
        if module.problem:
            return Finding(distribution, ERROR, f'is broken: {module.problem}', remedy)
        if not module.version:
            return Finding(distribution, level, 'is not installed', remedy)
        if _numbers(module.version) < _numbers(oldest) and module.version != '?':
            return Finding(distribution, ERROR, f'{module.version} is older than {oldest}', remedy)
        return Finding(distribution, OK, module.version)

    return check


def check_cv_bridge(machine: Machine) -> Finding:
    """Check what converts the encodings that are not read in place."""
    distribution = machine.environment.get('ROS_DISTRO')
    install = (f'sudo apt install ros-{distribution}-cv-bridge' if distribution else
               'it comes with a ROS 2 installation only')
    return module_check('cv_bridge.boost.cv_bridge_boost', WARNING, f'{install} (needed only for '
                        'encodings other than rgb8, bgr8, rgba8, bgra8 and mono8)')(machine)


def check_cuda(machine: Machine) -> Finding:
    """Check that there is a GPU and that torch can use it."""
    if not machine.gpus and not machine.driver:
        return Finding('CUDA', WARNING, 'no NVIDIA driver: policies run on the CPU',
                       'for a full-size policy, a machine with an NVIDIA GPU and its driver')
    driver = f'driver {machine.driver or "unknown"}'
    if not machine.gpus and not machine.cuda:
        return Finding('CUDA', WARNING, f'{driver}, but torch is a CPU build or missing',
                       'install a CUDA build of torch, see pytorch.org')
    if not machine.gpus:
        return Finding('CUDA', ERROR, f'{driver}, but torch for CUDA {machine.cuda} finds no GPU',
                       'install a newer driver or a torch for an older CUDA; in a container '
                       'run with --gpus all')
    gpu = machine.gpus[0]
    capability = '.'.join(map(str, gpu.capability))
    found = (f'{gpu.name}, {gpu.memory / _GIB:.0f} GiB, compute capability {capability}, '
             f'{driver}, CUDA {machine.cuda}')
    if gpu.capability < _AMPERE:
        return Finding('CUDA', WARNING, f'{found}: no FlashAttention-2',
                       'a GPU of compute capability 8.0 or later')
    if gpu.memory < _OPENVLA_BYTES:
        return Finding('CUDA', WARNING, f'{found}: less than the {_OPENVLA_BYTES / _GIB:.1f} GiB '
                       'of openvla-7b in bfloat16', 'a GPU with more memory, or a smaller policy')
    return Finding('CUDA', OK, found)


def check_attention(machine: Machine) -> Finding:
    """Check which attention kernel ``auto`` takes."""
    name, reason = machine.attention
    if not name:
        return Finding('attention', ERROR, 'unknown without torch', 'install torch')
    return Finding('attention', OK, f'{name}: {reason}')


def check_middleware(machine: Machine) -> Finding:
    """Check which middleware is in use and that it lets images through."""
    asked = machine.environment.get('RMW_IMPLEMENTATION', '')
    if not machine.rmw:
        return Finding('middleware', ERROR, 'unknown without rclpy', 'see rclpy above')
    if asked and asked != machine.rmw:
        return Finding('middleware', ERROR, f'RMW_IMPLEMENTATION is {asked}, but rclpy is bound '
                       f'to {machine.rmw}', f'unset RMW_IMPLEMENTATION, or install {asked}')
    profile = profile_in_use(machine.environment)
    if 'fastrtps' in machine.rmw and not profile:
        return Finding('middleware', WARNING, f'{machine.rmw} without a profile loses best-effort '
                       'images of 640x480 and more where they are published',
                       f'for the camera too: export {profile_variable(machine.environment)}='
                       f'{profile_file()}')
    return Finding('middleware', OK, machine.rmw + (f', profile {profile}' if profile else ''))


def check_distribution(machine: Machine) -> Finding:
    """Check which ROS 2 distribution the environment is set up for."""
    name = machine.environment.get('ROS_DISTRO', '')
    if name:
        return Finding('ROS 2', OK, name)
    if machine.modules['rclpy'].works:
        return Finding('ROS 2', OK, 'ROS_DISTRO is not set: rclpy comes from Python packages')
    return Finding('ROS 2', WARNING, 'no distribution is set up here',
                   'source /opt/ros/<distribution>/setup.bash, or run ./scripts/setup')


def check_shared_memory(machine: Machine) -> Finding:
    """Check the room for images on their way from one process to another."""
    fix = 'mount a larger /dev/shm; in a container run with --shm-size=1g'
    if machine.shared_memory is None:
        return Finding('/dev/shm', WARNING, 'is not there: images go through sockets', fix)
    total, free = machine.shared_memory
    found = f'{free / _MIB:.0f} MiB free of {total / _MIB:.0f} MiB'
    if machine.orphaned:
        found += (f', {machine.orphaned / _MIB:.0f} MiB are of processes that were killed: '
                  'vla_inference_node frees them when it starts')
    if free < 2 * _SEGMENT:
        return Finding('/dev/shm', WARNING, f'{found}: a camera and a node take '
                       f'{_SEGMENT // _MIB} MiB each', fix)
    return Finding('/dev/shm', OK, found)


def check_receive_buffer(machine: Machine) -> Finding:
    """Check the room for large images that arrive through a socket."""
    size = machine.receive_buffer
    if size is None:
        return Finding('rmem_max', WARNING, 'net.core.rmem_max cannot be read')
    found = f'net.core.rmem_max is {size / _MIB:.1f} MiB'
    if size < _RECEIVE_BUFFER:
        return Finding('rmem_max', WARNING, f'{found}: large images over UDP get lost',
                       'sudo sysctl -w net.core.rmem_max=67108864')
    return Finding('rmem_max', OK, found)


CHECKS: tuple[Check, ...] = (
    check_python,
    module_check('torch', ERROR, 'pip install torch (for a GPU see pytorch.org)'),
    check_cuda,
    check_attention,
    module_check('flash_attn', OK, ''),
    module_check('transformers', WARNING),
    module_check('tokenizers', ERROR),
    module_check('safetensors', ERROR),
    module_check('PIL', ERROR),
    module_check('numpy', ERROR),
    module_check('huggingface_hub', WARNING),
    check_distribution,
    module_check('rclpy', ERROR, 'source /opt/ros/<distribution>/setup.bash, or run '
                 './scripts/setup (vla_predict works without)'),
    check_middleware,
    module_check('vla_ros_msgs.msg', WARNING, 'colcon build --base-paths . msg (without it '
                 'vla/action and vla/status are not published)'),
    check_cv_bridge,
    check_shared_memory,
    check_receive_buffer,
)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, for comparison."""
    return tuple(int(number) for number in re.findall(r'\d+', version)[:3])
