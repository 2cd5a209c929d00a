# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The last seconds before a stop, kept in memory and written to an MCAP file when it comes."""

from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
import io
import logging
import math
from pathlib import Path
import threading
from typing import Any

import numpy as np
from PIL import Image

from vla_ros.errors import ParameterError
from vla_ros.policy.base import ActionChunk
from vla_ros.safety import black_box_types as types
from vla_ros.safety.black_box_files import is_own
from vla_ros.safety.black_box_files import METADATA
from vla_ros.safety.black_box_files import SUFFIX

_logger = logging.getLogger(__name__)

EVENTS = '/vla/events'
FRAMES = '/vla/frames/compressed'
RESULTS = '/vla/results'
JOINT_STATES = '/joint_states'
COMMANDS = '/arm/joint_command'

#: Longest side of a thumbnail, pixels.
_THUMBNAIL = 160
#: Most records in memory, for any time span: a flood of messages fills no memory.
_MOST_SPARE = 4
_MOST_RECORDS = 20_000
_LEVELS = {'info': 20, 'warning': 30, 'error': 40}


@dataclass(frozen=True)
class BlackBoxSettings:
    """
    How much is kept.

    :param folder: where files go; made if missing.
    :param seconds: how far back a file reaches.
    :param disk_mb: megabytes that all black boxes of the folder may take together; the oldest
        ones are deleted.
    :param pause: seconds between two files: a state that flutters fills no disk.
    """

    folder: Path
    seconds: float = 20.0
    disk_mb: float = 200.0
    pause: float = 5.0

    def __post_init__(self) -> None:
        """Reject what would keep nothing, or everything."""
        for name in ('seconds', 'disk_mb'):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ParameterError(f'black_box.{name}', value, 'a number above zero')


@dataclass(frozen=True)
class _Record:
    """One message to be, written as ``kind`` on ``topic``."""

    moment: int
    topic: str
    kind: tuple[str, str]
    content: Any


class BlackBox:
    """
    Remembers, and writes on request in a thread of its own.

    Remembering costs microseconds: images are downsampled, not compressed, and nothing is
    encoded before a file is written. Whatever goes wrong with a file is logged and nothing else:
    a full disk must not stop an arm that is being stopped anyway.
    """

    def __init__(self, settings: BlackBoxSettings) -> None:
        """Start with nothing remembered."""
        self._settings = settings
        self._lock = threading.Lock()
        self._records: deque[_Record] = deque(maxlen=_MOST_RECORDS)
        # Old images to write over; none while a file may still need them.
        self._spare: deque[np.ndarray] = deque(maxlen=_MOST_SPARE)
        self._is_writing = False
        self._wanted = ''
        self._changed = threading.Condition(self._lock)
        self._is_open = True
        self._closing = threading.Event()
        self._written: list[Path] = []
        self._thread: threading.Thread | None = None

    @property
    def written(self) -> tuple[Path, ...]:
        """The files written so far."""
        with self._lock:
            return tuple(self._written)

    @property
    def is_pending(self) -> bool:
        """Whether a file was asked for and is not written yet."""
        with self._lock:
            return self._is_writing or bool(self._wanted)

    def event(self, moment: int, text: str, level: str = 'info') -> None:
        """
        Remember a change of state, an instruction, an error.

        :param moment: ROS time in nanoseconds, here and below.
        :param level: info, warning or error.
        """
        self._note(moment, EVENTS, types.LOG, {
            'stamp': _stamp(moment), 'level': _LEVELS[level], 'name': 'vla_inference_node',
            'msg': text, 'file': '', 'function': '', 'line': 0})

    def frame(self, moment: int, taken: int, frame_id: str, rgb: np.ndarray) -> None:
        """
        Remember a downsampled image.

        :param taken: its stamp, nanoseconds.
        :param rgb: uint8 (H, W, 3).
        """
        stride = max(1, -(-max(rgb.shape[:2]) // _THUMBNAIL))
        self._note(moment, FRAMES, types.COMPRESSED_IMAGE,
                   (_header(taken, frame_id), self._copy(rgb[::stride, ::stride])))

    def result(self, moment: int, taken: int, chunk: ActionChunk) -> None:
        """Remember the policy's result for the image with this stamp."""
        self._note(moment, RESULTS, types.DIAGNOSTIC_ARRAY, (taken, chunk))

    def joints(self, moment: int, topic: str, names: Sequence[str], positions: Sequence[float],
               velocities: Sequence[float] = ()) -> None:
        """Remember a command or a measurement, by its topic."""
        self._note(moment, topic, types.JOINT_STATE, {
            'header': _header(moment, ''), 'name': list(names), 'position': list(positions),
            'velocity': list(velocities), 'effort': []})

    def write(self, why: str) -> None:
        """Request a file; it is written soon, in another thread."""
        with self._changed:
            self._wanted = why
            self._changed.notify()
            if self._thread is None and self._is_open:
                self._thread = threading.Thread(target=self._run, name='vla_black_box',
                                                daemon=True)
                self._thread.start()

    def close(self, timeout: float) -> None:
        """Write what was asked for, then end."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _note(self, moment: int, topic: str, kind: tuple[str, str], content: Any) -> None:
        with self._lock:
            self._records.append(_Record(moment, topic, kind, content))
            oldest = moment - int(self._settings.seconds * 1e9)
            # From the left only: after a clock that jumped back, what is older goes by itself.
            while self._records and self._records[0].moment < oldest:
                old = self._records.popleft()
                if old.kind is types.COMPRESSED_IMAGE and not self._is_writing:
                    self._spare.append(old.content[1])

    def _copy(self, image: np.ndarray) -> np.ndarray:
        with self._lock:
            copy = self._spare.pop() if self._spare else None
        if copy is None or copy.shape != image.shape:
            return image.copy()
        np.copyto(copy, image)
        return copy

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or not self._is_open)
                if not self._wanted:
                    return
                why, self._wanted = self._wanted, ''
                records = list(self._records)
                self._is_writing = True
            try:
                path = self._write_file(why, records)
            except Exception as error:
                _logger.error('no black box was written: %s: %s', type(error).__name__, error)
            else:
                _logger.info('black box written: %s (%s)', path, why)
                with self._lock:
                    self._written.append(path)
            with self._lock:
                self._is_writing = False
            self._closing.wait(self._settings.pause)

    def _write_file(self, why: str, records: list[_Record]) -> Path:
        folder = self._settings.folder
        folder.mkdir(parents=True, exist_ok=True)
        content = encode(records, why)
        make_room(folder, int(self._settings.disk_mb * 1e6) - len(content))
        slug = ''.join(letter if letter.isalnum() else '_' for letter in why.lower())[:40]
        path = folder / f'{datetime.now():%Y-%m-%dT%H-%M-%S.%f}_{slug}{SUFFIX}'
        part = path.with_suffix('.part')
        file = part.open('xb')
        try:
            with file:
                file.write(content)
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)
        return path


def encode(records: Sequence[_Record], why: str) -> bytes:
    """
    Return the content of an MCAP file.

    :raises ImportError: mcap or mcap_ros2 is not installed.
    """
    from mcap_ros2.writer import Writer
    output = io.BytesIO()
    with Writer(output) as writer:
        # The mark that is_own checks.
        writer.add_metadata(METADATA, {'why': why})
        schemas: dict[str, Any] = {}
        for sequence, record in enumerate(records):
            name, definition = record.kind
            if name not in schemas:
                schemas[name] = writer.register_msgdef(name, definition)
            writer.write_message(record.topic, schemas[name], _message(record), record.moment,
                                 record.moment, sequence)
    return output.getvalue()


def make_room(folder: Path, space: int) -> None:
    """
    Delete the oldest black boxes until those that are left take at most so many bytes.

    Whatever else is in the folder stays, and counts for nothing.
    """
    files = sorted((path for path in folder.iterdir() if is_own(path)),
                   key=lambda path: path.name)
    sizes = [path.stat().st_size for path in files]
    total = sum(sizes)
    for path, size in zip(files, sizes):
        if total <= space:
            return
        path.unlink(missing_ok=True)
        total -= size


def _message(record: _Record) -> Mapping[str, Any]:
    if record.kind is types.COMPRESSED_IMAGE:
        header, thumbnail = record.content
        jpeg = io.BytesIO()
        Image.fromarray(thumbnail).save(jpeg, 'JPEG', quality=80)
        return {'header': header, 'format': 'jpeg', 'data': jpeg.getvalue()}
    if record.kind is types.DIAGNOSTIC_ARRAY:
        return _result(record.moment, *record.content)
    return record.content


def _result(moment: int, taken: int, chunk: ActionChunk) -> Mapping[str, Any]:
    values = {'image stamp [ns]': taken, 'prompt': chunk.prompt,
              'token ids': list(chunk.token_ids), 'bins': list(chunk.bins),
              'margins': np.round(chunk.margins.ravel(), 3).tolist(),
              'action': np.round(chunk.actions, 6).tolist(),
              **{f'{stage} [ms]': round(float(ms), 3) for stage, ms in chunk.timings_ms.items()}}
    return {'header': _header(moment, ''), 'status': [{
        'level': 0, 'name': 'vla_ros: result', 'message': '', 'hardware_id': '',
        'values': [{'key': key, 'value': str(value)} for key, value in values.items()]}]}


def _stamp(moment: int) -> dict[str, int]:
    seconds, nanosec = divmod(moment, 1_000_000_000)
    return {'sec': seconds, 'nanosec': nanosec}


def _header(moment: int, frame_id: str) -> dict[str, Any]:
    return {'stamp': _stamp(moment), 'frame_id': frame_id}
