# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Everything that can go wrong for a user's reason, each error building its own sentence."""

from collections.abc import Mapping


class VlaError(Exception):
    """Base of all errors that a user can act on; ``str()`` of it is one line."""


class ParameterError(VlaError):
    """A parameter or command-line value that cannot be used."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        """
        Name the given value and the allowed ones.

        :param allowed: what would have been accepted, as the end of the sentence "it must be …".
        """
        super().__init__(f'{name}: got {value!r}, it must be {allowed}')
        self.name = name
        self.value = value
        self.allowed = allowed


class CheckpointError(VlaError):
    """A checkpoint folder that is missing, incomplete, damaged or of another kind."""

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f'checkpoint {path}: {problem}')
        self.path = path
        self.problem = problem


class UnnormKeyError(VlaError):
    """No action statistics under the dataset name that was asked for, or none was named."""

    def __init__(self, key: str | None, available: list[str]) -> None:
        if not available:
            super().__init__(
                'unnorm_key: the checkpoint holds no statistics of any dataset, so its actions '
                'have no scale; put the dataset_statistics.json of the training into its folder')
        else:
            problem = (f'{key!r} is not one of the datasets of this checkpoint' if key
                       else 'not given, and the checkpoint was trained on several datasets')
            super().__init__(f'unnorm_key: {problem}; choose from: {", ".join(available)}')
        self.key = key
        self.available = available


class ImageError(VlaError):
    """An image that cannot be read: encoding, size, row length or file format."""


class ObservationError(VlaError):
    """An observation that does not fit the checkpoint: number of images, proprioception."""


class MissingInput(ObservationError):
    """Something that an observation needs has not come, is too old, or cannot be used."""


class CommandError(VlaError):
    """An action that cannot become a joint command: its size, its numbers, a missing joint."""


class NotFinite(CommandError):
    """An action with a number that is none."""


class NotMeasured(CommandError):
    """An action that needs the position of a joint that was never measured."""


class UnsupportedError(VlaError):
    """Something this machine, or this build, cannot do."""

    def __init__(self, what: str, why: str, remedy: str) -> None:
        super().__init__(f'{what}: {why}; {remedy}')
        self.what = what
        self.why = why
        self.remedy = remedy


class CameraEnded(VlaError):
    """The thread that receives images has ended; only a new process has a new one."""


class DeviceMemoryError(VlaError):
    """A model that does not fit into the memory of its device."""

    def __init__(self, device: str, free: int, total: int, needs: Mapping[str, int],
                 smaller: Mapping[str, int]) -> None:
        """
        Name what takes the memory, and what would take less.

        :param free: bytes that were left when it failed, this model's own included.
        :param total: bytes of the device.
        :param needs: bytes by part.
        :param smaller: bytes of the whole by setting that makes it smaller.
        """
        parts = ', '.join(f'{part} {_gib(size)}' for part, size in needs.items())
        fitting = [f'{setting} ({_gib(size)})' for setting, size in smaller.items()
                   if size < free]
        remedy = (f'what would fit: {" or ".join(fitting)}' if fitting else
                  'nothing smaller would fit either: free memory, or use a larger device')
        super().__init__(
            f'out of memory on {device}: {_gib(sum(needs.values()))} are needed ({parts}), '
            f'{_gib(free)} of {_gib(total)} were free; {remedy}')
        self.free = free
        self.total = total
        self.needs = dict(needs)
        self.smaller = dict(smaller)


class DeviceLostError(VlaError):
    """A device error that every later call of this process would repeat."""

    def __init__(self, device: str, cause: BaseException) -> None:
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        super().__init__(f'{device} is lost to this process: {reason}; restart the node')
        self.device = device


def _gib(size: int) -> str:
    return f'{size / 2**30:.2f} GiB'


class InvalidAction(VlaError):
    """
    The model's output is not an action, so nothing may move.

    The reference code decodes any token to a motion, a stray word to full scale. Here the ids are
    kept for debugging.
    """

    def __init__(self, reason: str, token_ids: tuple[int, ...], positions: tuple[int, ...],
                 prompt: str = '', input_ids: tuple[int, ...] = ()) -> None:
        """
        Keep the whole output.

        :param reason: what makes it invalid.
        :param token_ids: every generated id, up to and including an early end.
        :param positions: zero-based indices in the action that are not valid.
        :param prompt: the text that was to be continued.
        :param input_ids: its token ids.
        """
        super().__init__(f'invalid action: {reason}; token ids {list(token_ids)}, '
                         f'offending positions {list(positions)}')
        self.reason = reason
        self.token_ids = token_ids
        self.positions = positions
        self.prompt = prompt
        self.input_ids = input_ids


class Cancelled(VlaError):
    """A long operation that its caller stopped."""


def describe(error: BaseException) -> str:
    """Return an error as one line: its own sentence if it has one, else with its type."""
    text = str(error) if isinstance(error, VlaError) else f'{type(error).__name__}: {error}'
    return ' '.join(text.split())
