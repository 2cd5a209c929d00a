# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From frames to commands: everything that the node does, without ROS."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
import logging
import threading
import time
from typing import Any
from typing import Optional
from typing import Protocol

import numpy as np

from vla_ros.errors import Cancelled
from vla_ros.errors import UnsupportedError
from vla_ros.errors import VlaError
from vla_ros.gate import Gate
from vla_ros.gate import Order
from vla_ros.joint_command import JointCommand
from vla_ros.joint_command import JointMapper
from vla_ros.parameters import NodeConfig
from vla_ros.policy import ActionChunk
from vla_ros.policy import Observation
from vla_ros.policy import Policy
from vla_ros.policy import PolicyConfig
from vla_ros.policy import PolicySpec
from vla_ros.policy import Progress
from vla_ros.status import FAULT
from vla_ros.status import LOADING
from vla_ros.status import READY
from vla_ros.status import Status
from vla_ros.status import StatusBoard
from vla_ros.status import UNCONFIGURED
from vla_ros.worker import Worker

_logger = logging.getLogger(__name__)

#: Seconds that a deactivated policy is given to finish its last answer before it is unloaded.
_CLEANUP_TIMEOUT = 30.0


@dataclass(frozen=True)
class Frame:
    """
    An image as it came in.

    :param image: the message, untouched until the worker reads it.
    :param received: nanoseconds of ROS time.
    :param arrived: monotonic seconds.
    """

    image: Any
    received: int
    arrived: float


@dataclass(frozen=True)
class Answer:
    """
    A command, and what it was computed from.

    :param started: when the inference began, in nanoseconds of ROS time.
    :param ended: when it ended, in nanoseconds of ROS time.
    """

    frame: Frame
    order: Order
    unnorm_key: str
    chunk: ActionChunk
    command: JointCommand
    started: int
    ended: int


class Shell(Protocol):
    """What the inference needs of ROS; every method may be called from any thread."""

    def now(self) -> int:
        """Give the ROS time in nanoseconds."""

    def read_image(self, image: Any) -> np.ndarray:
        """Give uint8 (H, W, 3) RGB, or raise :class:`vla_ros.errors.ImageError`."""

    def publish_answer(self, answer: Answer) -> float:
        """Publish the command at once; give the age of its image in seconds."""

    def publish_status(self, status: Status) -> None:
        """Publish the status."""


class Inference:
    """
    Keeps the newest frame, answers it with the policy, and lets the command out.

    Answers come out of the worker's thread in :meth:`_answer`; whatever is to stand between the
    policy and the arm stands there, and ends in the gate.
    """

    def __init__(self, config: NodeConfig, shell: Shell, board: StatusBoard,
                 load_policy: Callable[[PolicyConfig], Policy]) -> None:
        """
        Start with nothing loaded.

        :param load_policy: :func:`vla_ros.policy.load_policy`, or what a test puts in its place.
        """
        self._config = config
        self._shell = shell
        self._board = board
        self._load_policy = load_policy
        self._gate = Gate(config.instruction)
        self._joints: dict[str, float] = {}
        # Once it was stopped no worker is started any more, and nothing is published.
        self._starting = threading.Lock()
        self._is_stopped = False
        self._worker: Optional[Worker[Frame]] = None
        self._mapper: Optional[JointMapper] = None
        self._answered_epoch = -1
        # Statuses are published in the order in which they came about, by whatever thread.
        self._telling = threading.Lock()
        self._told: Any = None

    @property
    def instruction(self) -> str:
        """The instruction in force."""
        return self._gate.order.instruction

    def configure(self) -> PolicySpec:
        """
        Load the policy, and wait until it is ready.

        :raises VlaError: it cannot be loaded, or does not fit the configuration; the status says
            the same.
        """
        self._board.phase(LOADING, 'starting to load')
        self.tell_changes()
        worker = self._start_worker()
        try:
            spec = worker.wait_loaded()
            _check_inputs(spec)
            self._mapper = JointMapper(self._config.action_space, self._config.joint_names,
                                       spec.action_shape[1])
        except Cancelled:
            # Whoever stopped the worker waits for it, and not longer than need be.
            self._board.phase(UNCONFIGURED, 'loading was cancelled')
            raise
        except Exception as error:
            worker.stop(_CLEANUP_TIMEOUT)
            self._worker = None
            self._board.phase(FAULT, describe(error))
            self.tell_changes()
            raise
        self._board.phase(READY, '', spec, percent=100.0)
        self.tell_changes()
        return spec

    def activate(self) -> None:
        """Answer frames from now on."""
        self._gate.activate()
        self.tell_changes()

    def deactivate(self) -> None:
        """Send nothing more."""
        self._gate.deactivate()
        self.tell_changes()

    def cleanup(self) -> bool:
        """
        Unload the policy.

        :return: False if it is still busy.
        """
        if self._worker is not None and not self._worker.stop(_CLEANUP_TIMEOUT):
            return False
        self._worker = None
        self._board.phase(UNCONFIGURED, 'the policy was unloaded')
        self.tell_changes()
        return True

    def stop(self, timeout: float) -> bool:
        """
        Send nothing more, and end the worker.

        :param timeout: seconds to wait for what is under way.
        :return: whether the worker ended.
        """
        self._gate.deactivate()
        with self._starting, self._telling:
            self._is_stopped = True
        worker = self._worker
        return worker is None or worker.stop(timeout)

    def frame(self, image: Any) -> None:
        """Take a frame in; the worker will answer it unless a newer one comes first."""
        frame = Frame(image, self._shell.now(), time.monotonic())
        self._board.frame()
        worker = self._worker
        if worker is not None:
            worker.put(frame)

    def joints(self, names: Sequence[str], positions: Sequence[float]) -> None:
        """Take measured joint positions in, in rad and m; arm and gripper may come apart."""
        self._joints = {**self._joints, **dict(zip(names, positions))}

    def instruct(self, instruction: str) -> None:
        """Change the instruction; after the status that says so no older command follows."""
        if self._gate.instruct(instruction.strip()):
            _logger.info('instruction %d: %r', self._gate.order.version, instruction.strip())
            self.tell_changes()

    def emergency_stop(self, pressed: bool) -> None:
        """Stop at once, or note that the button was released; that alone does not re-arm."""
        if self._gate.stop() if pressed else self._gate.release():
            self.tell_changes()

    def rearm(self) -> str:
        """
        Go on after an emergency stop.

        :return: why not; empty if it was done.
        """
        refusal = self._gate.rearm()
        self.tell_changes()
        return refusal

    def tell(self) -> None:
        """Publish the status."""
        with self._telling:
            self._publish(self._status())

    def tell_changes(self) -> None:
        """Publish the status if anything in it is news."""
        with self._telling:
            status = self._status()
            if status.headline != self._told:
                self._publish(status)

    def _status(self) -> Status:
        worker = self._worker
        return self._board.status(self._gate.order, worker.dropped if worker else 0)

    def _publish(self, status: Status) -> None:
        if self._is_stopped:
            return
        self._told = status.headline
        self._shell.publish_status(status)

    def _start_worker(self) -> Worker[Frame]:
        with self._starting:
            if self._is_stopped:
                raise Cancelled('the node is about to end')
            self._worker = Worker(self._load, self._answer, self._report)
            return self._worker

    def _load(self, progress: Progress) -> Policy:
        config = self._config
        return self._load_policy(PolicyConfig(
            checkpoint=config.checkpoint, unnorm_key=config.unnorm_key or None,
            device=config.device, dtype=config.dtype, attention=config.attention,
            quantization=config.quantization, prompt=config.prompt, progress=progress))

    def _report(self, fraction: float, activity: str) -> None:
        self._board.phase(LOADING, activity, percent=100.0 * fraction)
        self.tell_changes()

    def _answer(self, policy: Policy, frame: Frame) -> None:
        order = self._gate.order
        if not order.is_open or frame.arrived < order.since:
            # A frame from before the order may be arbitrarily old; the next one is answered.
            self._board.unused()
            return
        try:
            answer = self._compute(policy, frame, order)
        except Exception as error:  # whatever it is: nothing moves, and the next frame is tried
            self._board.failed(describe(error))
            _logger.error('no command: %s', describe(error))
        else:
            if not self._gate.send(order, partial(self._send, answer)):
                self._board.void()
        self.tell_changes()

    def _compute(self, policy: Policy, frame: Frame, order: Order) -> Answer:
        if order.epoch != self._answered_epoch:
            # What the policy kept belongs to another instruction, or to before a stop.
            policy.reset()
            self._answered_epoch = order.epoch
        assert self._mapper is not None, 'the gate is open only after configure'
        started = self._shell.now()
        chunk = policy.infer(Observation((self._shell.read_image(frame.image),),
                                         order.instruction))
        ended = self._shell.now()
        self._board.inferred()
        command = self._mapper.command(chunk.actions[0], self._joints)
        return Answer(frame, order, policy.spec.unnorm_key, chunk, command, started, ended)

    def _send(self, answer: Answer) -> None:
        self._board.sent(self._shell.publish_answer(answer))


def describe(error: BaseException) -> str:
    """Give an error as one line: its own sentence if it has one, else with its type."""
    text = str(error) if isinstance(error, VlaError) else f'{type(error).__name__}: {error}'
    return ' '.join(text.split())


def _check_inputs(spec: PolicySpec) -> None:
    if spec.image_count != 1:
        raise UnsupportedError(f'checkpoint {spec.checkpoint}',
                               f'it looks at {spec.image_count} cameras, the node has one',
                               'use a checkpoint for one camera')
    if spec.proprio_dim:
        raise UnsupportedError(f'checkpoint {spec.checkpoint}',
                               f'it wants {spec.proprio_dim} numbers of proprioception, '
                               'the node gives none', 'use a checkpoint without')
