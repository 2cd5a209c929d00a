# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Answers frames with the policy, and lets each answer out through the gate."""

from collections.abc import Callable
from functools import partial
import logging
import math
import time
from typing import Any
from typing import Optional

import numpy as np

from vla_ros.adapter_choice import AdapterChoice
from vla_ros.errors import describe
from vla_ros.gate import Gate
from vla_ros.gate import Order
from vla_ros.moving import Mover
from vla_ros.observing import Observing
from vla_ros.pace import Pace
from vla_ros.parameters import NodeConfig
from vla_ros.policy import Policy
from vla_ros.safety.black_box import BlackBox
from vla_ros.safety.causes import held_by
from vla_ros.safety.frames import FrozenImage
from vla_ros.safety.gates import Held
from vla_ros.safety.state_machine import Reason
from vla_ros.shell import Answer
from vla_ros.shell import Frame
from vla_ros.shell import Shell
from vla_ros.status import StatusBoard

_logger = logging.getLogger(__name__)


class Answerer:
    """Takes a frame from its pixels to the gate; all of it but :attr:`busy` in the worker."""

    def __init__(self, config: NodeConfig, shell: Shell, board: StatusBoard, gate: Gate,
                 mover: Mover, observing: Observing, adapters: AdapterChoice,
                 black_box: Optional[BlackBox]) -> None:
        """Start with nothing answered."""
        self._shell = shell
        self._board = board
        self._gate = gate
        self._mover = mover
        self._observing = observing
        self._adapters = adapters
        self._black_box = black_box
        #: When the next frame may be answered.
        self.pace = Pace()
        self._frozen = FrozenImage(config.frozen_stamps, config.frozen_pixels)
        self._epoch = -1
        self._busy_since = math.inf

    @property
    def busy(self) -> float:
        """Seconds for which the policy has been at one answer; negative infinity if at none."""
        return time.monotonic() - self._busy_since

    def begin(self) -> None:
        """Expect another policy."""
        self._busy_since = math.inf

    def answer(self, policy: Policy, frame: Frame) -> None:
        """Answer a frame, or hold the arm for what is wrong with it."""
        order = self._gate.order
        if not order.is_open or frame.arrived < order.since:
            # A frame from before the order may be arbitrarily old; the next one is answered.
            self._board.unused()
            return
        self._busy_since = time.monotonic()
        try:
            self._compute(policy, frame, order)
        except Exception as error:  # whatever it is: nothing moves, and the next frame is tried
            self._board.failed()
            self._gate.problem(held_by(error), order)
            _logger.error('no command: %s', describe(error))
        finally:
            self._busy_since = math.inf

    def _compute(self, policy: Policy, frame: Frame, order: Order) -> None:
        is_switched = self._switch_adapter(policy)
        if is_switched or order.epoch != self._epoch:
            # What the policy kept belongs to another instruction or adapter, or before a stop.
            policy.reset()
            self._epoch = order.epoch
        self.pace.start()
        started = self._shell.now()
        rgb = self._shell.read_image(frame.image)
        self._check_image(frame, rgb)
        chunk = policy.infer(
            self._observing.observe(rgb, order.instruction, frame.staged))
        ended = self._shell.now()
        self._board.inferred()
        self._mover.check_age(frame)
        send, command = self._mover.prepare(frame, chunk)
        answer = Answer(frame, order, policy.spec.unnorm_key, chunk, command,
                        order.state.shadow, started, ended)
        if not self._gate.send(order, partial(self._send, answer, send)):
            self._board.void()
        if self._black_box is not None:
            taken = self._shell.stamp_of(frame.image)
            self._black_box.frame(frame.received, taken, '', rgb)
            self._black_box.answer(ended, taken, chunk)

    def _switch_adapter(self, policy: Any) -> bool:
        if not self._adapters.apply(policy):
            return False
        _logger.info('adapter %s answers from now on', self._adapters.in_place)
        self._board.adapter(self._adapters.in_place)
        return True

    def _send(self, answer: Answer, send: Callable[[], None]) -> None:
        send()
        self._board.answered(self._shell.publish_answer(answer))
        if answer.command is not None:
            self._board.sent()

    def _check_image(self, frame: Frame, rgb: np.ndarray) -> None:
        arm = self._mover.arm
        joints = None if arm is None else arm.measured
        problem = self._frozen.check(self._shell.stamp_of(frame.image), rgb, frame.arrived, joints)
        if problem:
            raise Held(Reason.FROZEN_IMAGE, problem)
