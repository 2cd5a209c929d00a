# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Fills ROS messages, and reads them, for the node."""

from collections.abc import Iterable
import math
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
import numpy as np
from sensor_msgs.msg import Image

from vla_ros.camera_image import PIXEL_BYTES
from vla_ros.camera_image import to_rgb
from vla_ros.errors import ImageError
from vla_ros.safety.state_machine import Mode
from vla_ros.shell import Answer
from vla_ros.status import Status

try:
    from vla_ros_msgs.msg import VlaAction
    from vla_ros_msgs.msg import VlaStatus
except ImportError:  # a plain build of this package alone has none; the node runs without
    VlaAction = None
    VlaStatus = None

HOW_TO_BUILD = ('vla_ros_msgs is not built, so vla/action and vla/status are not published; '
                'build it with: colcon build --base-paths . msg')

_LEVELS: dict[str, bytes] = {
    Mode.LOADING: DiagnosticStatus.OK, Mode.RUNNING: DiagnosticStatus.OK,
    Mode.FAULT: DiagnosticStatus.ERROR}


def nanoseconds(stamp: Time) -> int:
    """Give a stamp as one number."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def stamp(moment: int) -> Time:
    """Give nanoseconds as a stamp."""
    seconds, nanosec = divmod(moment, 1_000_000_000)
    return Time(sec=seconds, nanosec=nanosec)


def image_rgb(image: Image) -> np.ndarray:
    """
    Read an image message.

    :return: uint8 (H, W, 3) RGB, a view of the message where its encoding allows.
    :raises ImageError: it cannot be read.
    """
    if image.encoding in PIXEL_BYTES:
        return to_rgb(image.encoding, image.height, image.width, image.step, image.data)
    return _convert_with_cv_bridge(image)


def _convert_with_cv_bridge(image: Image) -> np.ndarray:
    try:
        # The package of this name on PyPI is no substitute: it misreads 16-bit and padded images.
        # Only the real one has this module.
        import cv_bridge.boost.cv_bridge_boost  # noqa: F401
    except ImportError as error:
        raise ImageError(
            f'encoding {image.encoding!r}: read without cv_bridge are only '
            f'{", ".join(PIXEL_BYTES)}; to read others install cv_bridge '
            '(apt install ros-$ROS_DISTRO-cv-bridge)') from error
    try:
        return cv_bridge.CvBridge().imgmsg_to_cv2(image, 'rgb8')
    except Exception as error:  # OpenCV's own error, CvBridgeError, or numpy's about the sizes
        raise ImageError(f'{image.encoding} image of {image.width}x{image.height} pixels: '
                         f'cv_bridge says: {error}') from error


def age(answer: Answer, moment: int) -> float:
    """Give the age of the answered image at a moment, in seconds; NaN if it carries no stamp."""
    taken = nanoseconds(answer.frame.image.header.stamp)
    return (moment - taken) / 1e9 if taken else math.nan


def vla_action(answer: Answer, published: int) -> Any:
    """Give an account of one answer, a ``vla_ros_msgs/VlaAction``."""
    chunk, received = answer.chunk, answer.frame.received
    return VlaAction(
        header=answer.frame.image.header, instruction=answer.order.instruction,
        instruction_version=answer.order.version, unnorm_key=answer.unnorm_key,
        received=stamp(received), inference_started=stamp(answer.started),
        inference_ended=stamp(answer.ended), published=stamp(published),
        age_received=age(answer, received), age_inference_started=age(answer, answer.started),
        age_inference_ended=age(answer, answer.ended), age_published=age(answer, published),
        action_shape=np.array(chunk.actions.shape, np.uint32), token_ids=list(chunk.token_ids),
        bins=list(chunk.bins), margins=chunk.margins.ravel().tolist(),
        drafted_tokens=chunk.drafted, accepted_tokens=chunk.accepted,
        normalized_action=chunk.normalized.ravel().tolist(),
        action=chunk.actions.ravel().tolist(), stage_names=list(chunk.timings_ms),
        stage_ms=[float(value) for value in chunk.timings_ms.values()])


def vla_status(now: int, status: Status) -> Any:
    """Give the status as a ``vla_ros_msgs/VlaStatus``."""
    progress, spec = status.progress, status.progress.spec
    message = VlaStatus(
        state=status.state, reason=status.explanation,
        loading_percent=progress.loading_percent, instruction=status.order.instruction,
        instruction_version=status.order.version, camera_rate=status.camera_rate,
        inference_rate=status.inference_rate, command_rate=status.command_rate,
        frames_received=progress.frames_received, frames_dropped=status.frames_dropped,
        frames_failed=progress.frames_failed, answers_void=progress.answers_void,
        commands_sent=progress.commands_sent, last_age=progress.last_age,
        attention=spec.attention if spec else '', device=spec.device if spec else '',
        dtype=spec.dtype if spec else '', adapter=progress.adapter,
        gate_names=[name for name, _ in status.gates],
        gate_counts=np.array([count for _, count in status.gates], np.uint64),
        motion_coverage=status.pace.coverage)
    message.header.stamp = stamp(now)
    return message


def diagnostics(now: int, name: str, checkpoint: str, status: Status,
                camera: Iterable[tuple[str, object]]) -> DiagnosticArray:
    """
    Give the status as ``/diagnostics`` wants it, readable without ``vla_ros_msgs``.

    :param camera: names and values of what is known of the camera's connection.
    """
    progress, spec = status.progress, status.progress.spec
    level = _LEVELS.get(status.state, DiagnosticStatus.WARN)
    if level == DiagnosticStatus.OK and status.state == Mode.RUNNING and status.explanation:
        level = DiagnosticStatus.WARN
    values = _key_values([
        ('state', status.state),
        ('loading [%]', f'{progress.loading_percent:.0f}'),
        ('instruction', status.order.instruction),
        ('instruction version', status.order.version),
        ('camera rate [Hz]', f'{status.camera_rate:.2f}'),
        ('inference rate [Hz]', f'{status.inference_rate:.2f}'),
        ('command rate [Hz]', f'{status.command_rate:.2f}'),
        ('frames received', progress.frames_received),
        ('frames dropped', status.frames_dropped),
        ('frames failed', progress.frames_failed),
        ('answers void', progress.answers_void),
        ('commands sent', progress.commands_sent),
        ('last age [s]', f'{progress.last_age:.4f}'),
        ('motion coverage', f'{status.pace.coverage:.3f}'),
        *((f'gate {name}', count) for name, count in status.gates),
        ('adapter', progress.adapter),
        ('attention', f'{spec.attention}: {spec.attention_reason}' if spec else ''),
        ('device', spec.device if spec else ''),
        ('dtype', spec.dtype if spec else ''),
    ])
    message = DiagnosticArray(status=[DiagnosticStatus(
        level=level, name=f'{name}: policy', hardware_id=checkpoint,
        message=status.explanation or status.state, values=values), DiagnosticStatus(
        level=DiagnosticStatus.WARN if progress.camera_problem else DiagnosticStatus.OK,
        name=f'{name}: camera', hardware_id=checkpoint,
        message=progress.camera_problem or 'connected', values=_key_values(camera))])
    message.header.stamp = stamp(now)
    return message


def _key_values(pairs: Iterable[tuple[str, object]]) -> list[KeyValue]:
    return [KeyValue(key=key, value=str(value)) for key, value in pairs]
