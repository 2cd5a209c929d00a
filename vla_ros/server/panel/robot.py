# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What the page needs of the robot; the ROS side implements it."""

from collections.abc import Callable
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Outcome:
    """
    What became of a command.

    :param ok: whether it was done.
    :param message: what there is to say about it; where it was not done, why.
    """

    ok: bool
    message: str = ''


@dataclass(frozen=True)
class TaskRequest:
    """
    A task to start, with the fields of vla_ros_msgs/StartTask; the node checks their ranges.

    :param timeout: seconds.
    :param success: the condition.
    :param success_name: topic or service of the condition, if it has one.
    :param rest_time: seconds at rest; 0 for the node's default.
    """

    instruction: str
    timeout: float
    success: str
    success_name: str = ''
    rest_time: float = 0.0


@dataclass(frozen=True)
class CameraImage:
    """
    One image of one camera.

    :param camera: name of the camera's topic.
    :param jpeg: the file.
    :param details: further JSON values for the page.
    """

    camera: str
    jpeg: bytes
    details: Mapping[str, object]


class Robot(Protocol):
    """
    The robot behind the page; every method may be called from any thread.

    None but :meth:`call` and :meth:`release_stop` waits for anything.
    """

    @property
    def is_stop_pressed(self) -> bool:
        """Whether the software stop is pressed."""

    def press_stop(self) -> None:
        """Press the software stop."""

    def release_stop(self) -> None:
        """Release it; the arm stays where it is until it is re-armed."""

    def instruct(self, instruction: str) -> Outcome:
        """Return an instruction, a valid one."""

    def call(self, service: str) -> 'Future[Outcome]':
        """
        Call a service.

        :param service: one of the names in ``state()['services']`` that take no task.
        """

    def start_task(self, task: TaskRequest) -> 'Future[Outcome]':
        """Start a task; ``start_task`` is in ``state()['services']``."""

    def state(self) -> Mapping[str, object]:
        """Return what the page shows, as JSON has it: no NaN."""

    def stream(self, show: Callable[[CameraImage], None] | None) -> None:
        """
        Call ``show`` with images from now on.

        :param show: called with each, from any thread; None: no page is open.
        """
