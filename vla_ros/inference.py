# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From frames to commands: everything that the node does, without ROS."""

from collections.abc import Callable
from collections.abc import Sequence
import logging
from pathlib import Path
import threading
import time
from typing import Any
from typing import Optional

import numpy as np

from vla_ros.adapter_choice import AdapterChoice
from vla_ros.answering import Answerer
from vla_ros.errors import Cancelled
from vla_ros.errors import describe
from vla_ros.gate import Gate
from vla_ros.moving import Mover
from vla_ros.observing import Observing
from vla_ros.pace import start_period
from vla_ros.parameters import NodeConfig
from vla_ros.policy import Policy
from vla_ros.policy import PolicyConfig
from vla_ros.policy import PolicySpec
from vla_ros.policy import Progress
from vla_ros.safety.black_box import BlackBox
from vla_ros.safety.black_box import BlackBoxSettings
from vla_ros.safety.gates import Held
from vla_ros.safety.state_machine import Event
from vla_ros.safety.state_machine import Reason
from vla_ros.shell import Frame
from vla_ros.shell import Shell
from vla_ros.status import StatusBoard
from vla_ros.telling import Teller
from vla_ros.worker import Worker

_logger = logging.getLogger(__name__)

#: Seconds that a deactivated policy is given to finish its last answer before it is unloaded.
_CLEANUP_TIMEOUT = 30.0


class Inference:
    """
    Keeps the newest frame, answers it with the policy, and lets the command out.

    The life of the node, and whatever reaches it from outside, comes in here. A frame goes on to
    the worker's thread, where :class:`vla_ros.answering.Answerer` answers it; what is to stand
    between the policy and the arm stands there, and ends in the gate. From the gate on
    :class:`vla_ros.moving.Mover` moves the arm.
    """

    def __init__(self, config: NodeConfig, shell: Shell, board: StatusBoard,
                 load_policy: Callable[[PolicyConfig], Policy]) -> None:
        """
        Start with nothing loaded.

        :param load_policy: :func:`vla_ros.policy.load_policy`, or what a test puts in its place.
        :raises ParameterError: parameters do not go together.
        """
        self._config = config
        self._shell = shell
        self._board = board
        self._load_policy = load_policy
        self._gate = Gate(config.instruction, config.dry_start, config.shadow, shell.read_button)
        self._adapters = AdapterChoice(config.adapters, config.adapter)
        #: Where inputs beside the main image are handed in.
        self.observing = Observing(config)
        self._black_box = _black_box(config)
        self._mover = Mover(config, shell, board, self._gate, self._black_box)
        self._teller = Teller(shell, board, self._gate, self._mover, self._black_box,
                              self._count_replaced)
        #: Publishes the status.
        self.tell = self._teller.tell
        #: Publishes the status if anything in it is news.
        self.tell_changes = self._teller.tell_changes
        self._answerer = Answerer(config, shell, board, self._gate, self._mover, self.observing,
                                  self._adapters, self._black_box)
        # Once it was stopped no worker is started any more, and nothing is published.
        self._starting = threading.Lock()
        self._is_stopped = False
        self._worker: Optional[Worker[Frame]] = None
        self._stage: Optional[Callable[[np.ndarray], Any]] = None

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
        self._board.loading('starting to load')
        self._gate.handle(Event.CONFIGURE)
        self.tell_changes()
        try:
            worker = self._start_worker()
            spec = worker.wait_loaded()
            self.observing.check(spec)
            self._mover.build(spec)
            self._answerer.pace.period = start_period(self._config, spec.unnorm_key)
        except Cancelled:
            # Whoever stopped the worker waits for it, and not longer than need be.
            self._board.loading('loading was cancelled')
            self._gate.handle(Event.CLEANUP)
            raise
        except Exception as error:
            if self._worker is not None:
                self._worker.stop(_CLEANUP_TIMEOUT)
            self._worker = None
            self._gate.handle(Event.LOAD_FAILED, describe(error))
            self.tell_changes()
            raise
        self._board.loading('', 100.0, spec)
        self._gate.handle(Event.LOADED)
        self.tell_changes()
        return spec

    def activate(self) -> None:
        """Answer frames from now on."""
        self._gate.handle(Event.ACTIVATE)
        self.tell_changes()

    def deactivate(self) -> None:
        """Send nothing more."""
        self._gate.handle(Event.DEACTIVATE)
        self.tell_changes()

    def cleanup(self) -> bool:
        """
        Unload the policy.

        :return: False if it is still busy.
        """
        if self._worker is not None and not self._worker.stop(_CLEANUP_TIMEOUT):
            return False
        self._worker = self._stage = None
        self._answerer.begin()
        self._board.loading('the policy was unloaded')
        self._gate.handle(Event.CLEANUP)
        self.tell_changes()
        return True

    def stop(self, timeout: float) -> bool:
        """
        Send nothing more, and end the worker.

        :param timeout: seconds to wait for what is under way.
        :return: whether the worker ended.
        """
        self._gate.handle(Event.DEACTIVATE)
        with self._starting:
            self._is_stopped = True
        self._mover.close()
        self._teller.close()
        worker = self._worker
        is_idle = worker is None or worker.stop(timeout)
        if self._black_box is not None:
            self._black_box.close(timeout)
        return is_idle

    def frame(self, image: Any) -> None:
        """Take a frame in; the worker will answer it unless a newer one comes first."""
        received, arrived = self._shell.now(), time.monotonic()
        frame = Frame(image, received, arrived, self._send_ahead(image))
        self._mover.frame(frame)
        self._board.frame()
        worker = self._worker
        if worker is not None:
            worker.put(frame)

    def joints(self, names: Sequence[str], positions: Sequence[float]) -> None:
        """Take measured joint positions in, in rad and m; arm and gripper may come apart."""
        self._mover.joints(names, positions)
        self.observing.joints(names, positions)

    def instruct(self, instruction: str) -> None:
        """Change the instruction; after the status that says so no older command follows."""
        if self._gate.instruct(instruction.strip()):
            _logger.info('instruction %d: %r', self._gate.order.version, instruction.strip())
            self.tell_changes()

    def choose_adapter(self, name: str) -> None:
        """
        Have another adapter answer, from the next inference on.

        :raises ParameterError: it cannot be chosen.
        """
        self._adapters.choose(name)

    def hear(self) -> None:
        """Stop at once, or note that the button was released; that alone does not re-arm."""
        if self._gate.hear():
            self.tell_changes()

    def hold(self, reason: Reason, detail: str) -> None:
        """Hold the arm for a reason that came up outside: an operator, the middleware."""
        if self._gate.problem(Held(reason, detail)):
            self.tell_changes()

    def tick(self) -> None:
        """Send what is due, or hold for what is wrong; called ``command_rate`` times a second."""
        if self._mover.tick():
            self.tell_changes()

    def due(self) -> float:
        """Give the monotonic seconds at which a tick is needed, even before its time."""
        return self._mover.due()

    def watch(self) -> None:
        """Look whether the inference hangs; called many times a second by a steady clock."""
        busy = self._answerer.busy
        if busy > self._config.inference_timeout and self._gate.handle(
                Event.HANG, f'no answer for {busy:.1f} s, safety.inference_timeout is '
                f'{self._config.inference_timeout:g} s; end the node, or clean it up and '
                'configure it again'):
            self.tell_changes()

    def rearm(self) -> str:
        """
        Go on after an emergency stop or a hold, or take the arm out of the shadow.

        :return: why not; empty if it was done.
        """
        refusal = self._gate.rearm()
        self.tell_changes()
        return refusal

    def _count_replaced(self) -> int:
        worker = self._worker
        return worker.dropped if worker is not None else 0

    def _start_worker(self) -> Worker[Frame]:
        with self._starting:
            if self._is_stopped:
                raise Cancelled('the node is about to end')
            self._worker = Worker(self._load, self._answer, self._report, self._answerer.pace)
            return self._worker

    def _load(self, progress: Progress) -> Policy:
        policy = self._load_policy(self._config.policy_config(
            self._adapters.folders, self._adapters.begin(), progress))
        self._board.adapter(self._adapters.in_place)
        self._stage = getattr(policy, 'stage', None)
        return policy

    def _send_ahead(self, image: Any) -> Any:
        """Send a frame to the device while the one before is still being answered."""
        stage = self._stage
        rgb = None if stage is None else self._shell.view_image(image)
        return None if stage is None or rgb is None else stage(rgb)

    def _report(self, fraction: float, activity: str) -> None:
        self._board.loading(activity, 100.0 * fraction)
        self.tell_changes()

    def _answer(self, policy: Policy, frame: Frame) -> None:
        self._answerer.answer(policy, frame)
        self.tell_changes()


def _black_box(config: NodeConfig) -> Optional[BlackBox]:
    if not config.black_box_folder:
        return None
    return BlackBox(BlackBoxSettings(Path(config.black_box_folder).expanduser(),
                                     config.black_box_seconds, config.black_box_disk))
