# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Why no image arrives, from what can be seen of the camera."""

from dataclasses import dataclass

#: Seconds that a matched camera may be silent before something is wrong.
PATIENCE = 2.0

#: Where frames may come from.
IMAGE_SOURCES = ('topic', 'compressed', 'iceoryx2')

_COMPRESSED = 'sensor_msgs/msg/CompressedImage'
_RAW = 'sensor_msgs/msg/Image'


@dataclass(frozen=True)
class CameraState:
    """
    What the node sees of its camera.

    :param source: one of :data:`IMAGE_SOURCES`.
    :param cameras: nodes that publish on the topic, with the type that the node takes.
    :param other_types: message types that are published on the topic, but that it does not take.
    :param mismatch: policy by which a camera was refused, empty if none was.
    :param lost: images that the middleware knows to be lost.
    :param silence: seconds since the last image, or since there is a camera.
    :param middleware: RMW in use.
    """

    source: str
    topic: str
    cameras: tuple[str, ...] = ()
    other_types: tuple[str, ...] = ()
    mismatch: str = ''
    lost: int = 0
    silence: float = 0.0
    middleware: str = ''


def diagnose(view: CameraState) -> str:
    """Return one line: why no image arrives and what to do; empty if nothing is wrong."""
    if view.silence < PATIENCE:
        return ''
    if view.source == 'iceoryx2':
        return (f'no frame comes through iceoryx2 under the name {view.topic}: does the driver '
                'use vla_ros.camera.iceoryx2 with this name, as the same user?')
    if not view.cameras and view.other_types:
        return _wrong_type(view)
    if not view.cameras:
        return (f'no publisher on {view.topic}: start the camera, or remap the topic '
                '(ros2 topic list)')
    if view.mismatch:
        return (f'{", ".join(view.cameras)} offers another {view.mismatch} on {view.topic} than '
                'this node asks for: vla_doctor --graph says what to change')
    return (f'{", ".join(view.cameras)} is connected on {view.topic}, but nothing arrives: '
            + _remedy(view))


def _wrong_type(view: CameraState) -> str:
    types = ', '.join(view.other_types)
    remedy = 'image.source:=compressed' if _COMPRESSED in view.other_types else 'another topic'
    if view.source == 'compressed' and _RAW in view.other_types:
        remedy = 'image.source:=topic'
    return f'{view.topic} carries {types}: use {remedy}'


def _remedy(view: CameraState) -> str:
    if 'fastrtps' in view.middleware:
        return ('does it send? If so, Fast DDS loses images of more than 0.5 MB unless the camera '
                'driver was started with a larger segment: eval "$(vla_transport --print-env '
                'fastrtps)" in its shell, or include transport.launch.py in its launch file')
    if 'cyclonedds' in view.middleware:
        return ('does it send? If so, CycloneDDS loses images of more than 1 MB unless both sides '
                'were started with transport:=cyclonedds, and sysctl net.core.rmem_max is 64 MiB; '
                'with iceoryx, both must use it: vla_transport --print-env iceoryx')
    return 'does it send, and over the same middleware?'


def image_topic(source: str) -> str:
    """Return the topic of a source; for iceoryx2 it is just a name."""
    # As image_transport names them.
    return 'camera/image_raw' + ('/compressed' if source == 'compressed' else '')
