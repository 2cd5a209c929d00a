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
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from vla_ros.camera.image_encodings import conversion_advice
from vla_ros.camera.image_encodings import PIXEL_BYTES
from vla_ros.camera.image_encodings import to_rgb
from vla_ros.camera.image_encodings import unsupported_reason
from vla_ros.control.ros_interface import InferenceResult
from vla_ros.control.status import Status
from vla_ros.data.compressed_image import decode
from vla_ros.errors import ImageError
from vla_ros.safety.state_machine import Mode

try:
    from vla_ros_msgs.action import RunTask
    from vla_ros_msgs.msg import VlaAction
    from vla_ros_msgs.msg import VlaStatus
    from vla_ros_msgs.srv import StartTask
except ImportError:  # a plain build of this package alone has none; the node runs without
    RunTask = None
    StartTask = None
    VlaAction = None
    VlaStatus = None

HOW_TO_BUILD = ('vla_ros_msgs is not built, so vla/action and vla/status are not published and '
                'there are no tasks; build it with: colcon build --base-paths . msg in the '
                'checkout; in a workspace make a link first: ln -s vla_ros/msg src/vla_ros_msgs')

_LEVELS: dict[str, bytes] = {
    Mode.LOADING: DiagnosticStatus.OK, Mode.RUNNING: DiagnosticStatus.OK,
    Mode.FAULT: DiagnosticStatus.ERROR}


def nanoseconds(stamp: Time) -> int:
    """Return a stamp as one number."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def stamp(moment: int) -> Time:
    """Return nanoseconds as a stamp."""
    seconds, nanosec = divmod(moment, 1_000_000_000)
    return Time(sec=seconds, nanosec=nanosec)


def image_rgb(image: Image) -> np.ndarray:
    """
    Read an image message.

    :returns: uint8 (H, W, 3) RGB, a view of the message where its encoding allows.
    :raises ImageError: it cannot be read.
    """
    if image.encoding in PIXEL_BYTES:
        return to_rgb(image.encoding, image.height, image.width, image.step, image.data)
    problem = unsupported_reason(image.encoding)
    if problem:
        raise ImageError(problem)  # cv_bridge would refuse it, too
    return _convert_with_cv_bridge(image)


def compressed_rgb(image: CompressedImage) -> np.ndarray:
    """
    Decode a compressed image message.

    :return: uint8 (H, W, 3) RGB.
    :raises ImageError: it cannot be read.
    """
    return decode(image.format, image.data)


def _convert_with_cv_bridge(image: Image) -> np.ndarray:
    try:
        # The package of this name on PyPI is no substitute: it misreads 16-bit and padded images.
        # Only the real one has this module.
        import cv_bridge.boost.cv_bridge_boost  # noqa: F401
    except ImportError as error:
        raise ImageError(conversion_advice(image.encoding)) from error
    try:
        return cv_bridge.CvBridge().imgmsg_to_cv2(image, 'rgb8')
    except Exception as error:  # OpenCV's own error, CvBridgeError, or numpy's about the sizes
        raise ImageError(f'{image.encoding} image of {image.width}x{image.height} pixels: '
                         f'cv_bridge says: {error}') from error


def age(result: InferenceResult, moment: int) -> float:
    """Return the age of a result's image at a moment, in seconds; NaN if it carries no stamp."""
    taken = nanoseconds(result.frame.image.header.stamp)
    return (moment - taken) / 1e9 if taken else math.nan


def vla_action(result: InferenceResult, published: int) -> Any:
    """Return the account of one result, a ``vla_ros_msgs/VlaAction``."""
    chunk, received = result.chunk, result.frame.received
    return VlaAction(
        header=result.frame.image.header, instruction=result.context.instruction,
        instruction_version=result.context.version, unnorm_key=result.unnorm_key,
        received=stamp(received), inference_started=stamp(result.started),
        inference_ended=stamp(result.ended), published=stamp(published),
        age_received=age(result, received), age_inference_started=age(result, result.started),
        age_inference_ended=age(result, result.ended), age_published=age(result, published),
        action_shape=np.array(chunk.actions.shape, np.uint32), token_ids=list(chunk.token_ids),
        bins=list(chunk.bins), margins=chunk.margins.ravel().tolist(),
        drafted_tokens=chunk.drafted, accepted_tokens=chunk.accepted,
        normalized_action=chunk.normalized.ravel().tolist(),
        action=chunk.actions.ravel().tolist(), stage_names=list(chunk.timings_ms),
        stage_ms=[float(value) for value in chunk.timings_ms.values()],
        input_names=list(result.inputs),
        input_stamps=[stamp(one) for one in result.inputs.values()])


def vla_status(now: int, status: Status) -> Any:
    """Return the status as a ``vla_ros_msgs/VlaStatus``."""
    progress, spec = status.progress, status.progress.spec
    message = VlaStatus(
        state=status.state, reason=status.explanation, control_mode=str(status.control_mode),
        loading_percent=progress.loading_percent, instruction=status.context.instruction,
        instruction_version=status.context.version, camera_rate=status.camera_rate,
        inference_rate=status.inference_rate, command_rate=status.command_rate,
        frames_received=progress.frames_received, frames_dropped=status.frames_dropped,
        frames_failed=progress.frames_failed, results_discarded=progress.results_discarded,
        commands_sent=progress.commands_sent, last_age=progress.last_age,
        attention=spec.attention if spec else '', device=spec.device if spec else '',
        dtype=spec.dtype if spec else '', revision=spec.revision if spec else '',
        adapter=progress.adapter,
        action_limit_names=[name for name, _ in status.action_limits],
        action_limit_counts=np.array([count for _, count in status.action_limits], np.uint64),
        motion_coverage=status.coverage.coverage)
    message.header.stamp = stamp(now)
    return message


def diagnostics(now: int, name: str, checkpoint: str, status: Status,
                camera: Iterable[tuple[str, object]]) -> DiagnosticArray:
    """
    Return the status as ``/diagnostics`` wants it, readable without ``vla_ros_msgs``.

    :param camera: names and values of what is known of the camera's connection.
    """
    progress, spec = status.progress, status.progress.spec
    level = _LEVELS.get(status.state, DiagnosticStatus.WARN)
    if level == DiagnosticStatus.OK and status.state == Mode.RUNNING and status.explanation:
        level = DiagnosticStatus.WARN
    values = _key_values([
        ('state', status.state),
        ('control mode', status.control_mode),
        ('loading [%]', f'{progress.loading_percent:.0f}'),
        ('instruction', status.context.instruction),
        ('instruction version', status.context.version),
        ('camera rate [Hz]', f'{status.camera_rate:.2f}'),
        ('inference rate [Hz]', f'{status.inference_rate:.2f}'),
        ('command rate [Hz]', f'{status.command_rate:.2f}'),
        ('frames received', progress.frames_received),
        ('frames dropped', status.frames_dropped),
        ('frames failed', progress.frames_failed),
        ('results discarded', progress.results_discarded),
        ('commands sent', progress.commands_sent),
        ('last age [s]', f'{progress.last_age:.4f}'),
        ('motion coverage', f'{status.coverage.coverage:.3f}'),
        *((f'action limit {name}', count) for name, count in status.action_limits),
        ('adapter', progress.adapter),
        ('attention', f'{spec.attention}: {spec.attention_reason}' if spec else ''),
        ('device', spec.device if spec else ''),
        ('dtype', spec.dtype if spec else ''),
        ('revision', spec.revision if spec else ''),
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
