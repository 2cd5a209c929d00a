# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Reads a bag in the order in which it was written, finished or not, without ROS.

One pass, a chunk at a time: memory does not grow with the bag.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_ros.recording.bag_files import BagError
from vla_ros.recording.bag_files import complete
from vla_ros.recording.bag_files import is_complete
from vla_ros.recording.bag_files import is_locked
from vla_ros.recording.bag_writer import METADATA
from vla_ros.recording.bag_writer import RecordedTopic
from vla_ros.recording.bag_writer import write_metadata
from vla_ros.util.packages import missing_package
import yaml


@dataclass(frozen=True)
class Sample:
    """
    One message.

    :param log_time: when it was received, ns.
    :param publish_time: when it was sent, ns.
    :param data: CDR.
    """

    topic: str
    type: str  # noqa: A003
    log_time: int
    publish_time: int
    sequence: int
    data: bytes


class Bag:
    """A bag folder of rosbag2, or an MCAP file alone."""

    def __init__(self, path: Path) -> None:
        """
        Find the file.

        :raises BagError: there is no MCAP file, or there are several.
        :raises UnsupportedError: the library mcap is missing.
        """
        try:
            import mcap.stream_reader  # noqa: F401
            import mcap_ros2.decoder
        except ImportError as error:
            raise missing_package('bags', error) from None
        self.path = path
        self.file = _find_file(path)
        self.is_complete = is_complete(self.file)
        self._factory = mcap_ros2.decoder.DecoderFactory()
        self._schemas: dict[str, Any] = {}
        self.metadata = self._read_metadata()

    @property
    def name(self) -> str:
        """Name of the bag, for people."""
        return self.path.stem if self.path.is_file() else self.path.resolve().name

    def samples(self) -> Iterator[Sample]:
        """Read all messages that are whole, in the order in which they were written."""
        from mcap.records import Channel
        from mcap.records import Message
        from mcap.records import Schema
        schemas: dict[int, Any] = {}
        channels: dict[int, Any] = {}
        for record in self._records():
            if isinstance(record, Message):
                channel = channels[record.channel_id]
                yield Sample(channel.topic, schemas[channel.schema_id].name, record.log_time,
                             record.publish_time, record.sequence, record.data)
            elif isinstance(record, Schema):
                schemas[record.id] = record
                self._schemas.setdefault(record.name, record)
            elif isinstance(record, Channel):
                channels[record.id] = record

    def decode(self, sample: Sample) -> Any:
        """
        Decode a message that :meth:`samples` gave.

        :raises BagError: its content does not fit its definition.
        """
        decoder = self._factory.decoder_for('cdr', self._schemas[sample.type])
        if decoder is None:
            raise BagError(self.path, f'{sample.topic} is not CDR of ROS 2')
        try:
            return decoder(sample.data)
        except Exception as error:  # damaged data may raise anything in the decoder
            raise BagError(self.path, f'a message on {sample.topic} cannot be decoded '
                                      f'({type(error).__name__})') from None

    def _records(self) -> Iterator[Any]:
        from mcap.exceptions import McapError
        from mcap.stream_reader import StreamReader
        with self.file.open('rb') as stream:
            try:
                yield from StreamReader(stream).records
            # The end of an unfinished file, in the midst of a record.
            except (McapError, EOFError, ValueError, MemoryError) as error:
                if self.is_complete:
                    raise BagError(self.path, f'it is damaged ({error!r})') from None

    def _read_metadata(self) -> dict[str, str]:
        from mcap.reader import make_reader
        found: dict[str, str] = {}
        if self.is_complete:
            with self.file.open('rb') as stream:
                for record in make_reader(stream).iter_metadata():
                    if record.name == METADATA:
                        found = dict(record.metadata)
            return found
        from mcap.records import Message
        from mcap.records import Metadata
        for record in self._records():
            if isinstance(record, Message):
                break
            if isinstance(record, Metadata) and record.name == METADATA:
                found = dict(record.metadata)
        return found


def complete_bag(path: Path, metadata: dict[str, str]) -> int:
    """
    Finish a bag that was cut short: its index and its metadata.yaml.

    :param metadata: of the episode, over what is there.
    :returns: messages in it.
    :raises BagError: it is not a bag.
    """
    bag = Bag(path)
    values = {**bag.metadata, **metadata}
    count = sum(complete(bag.file, {METADATA: values}).values())
    topics, counts, times = _summary(bag.file)
    write_metadata(bag.file.parent, bag.file.name, topics, counts, times, values)
    (bag.file.parent / '.space_for_the_index').unlink(missing_ok=True)
    return count


def find_unfinished(folder: Path) -> list[Path]:
    """Find the bags of this project in a folder that were cut short."""
    found = []
    for path in sorted(folder.glob('*/*_0.mcap')):
        try:
            with path.open('rb') as file:
                is_own = METADATA.encode() in file.read(4096)
            if is_own and not is_complete(path) and not is_locked(path):
                found.append(path.parent)
        except (BagError, OSError):
            continue
    return found


def _summary(file: Path) -> tuple[list[RecordedTopic], dict[str, int], tuple[int, int]]:
    from mcap.reader import make_reader
    with file.open('rb') as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None and summary.statistics is not None  # it was just written
    topics, counts = [], {}
    for channel in summary.channels.values():
        schema = summary.schemas[channel.schema_id]
        topics.append(RecordedTopic(channel.topic, schema.name, schema.data.decode(),
                                    channel.metadata.get('offered_qos_profiles', '')))
        counts[channel.topic] = summary.statistics.channel_message_counts.get(channel.id, 0)
    return topics, counts, (summary.statistics.message_start_time,
                            summary.statistics.message_end_time)


def _find_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise BagError(path, 'there is no such file or folder')
    files = sorted(path.glob('*.mcap'))
    if not files:
        raise BagError(path, 'it holds no .mcap file; only bags stored as MCAP are read')
    if len(files) > 1:
        names = _names_in_metadata(path)
        raise BagError(path, f'it holds {len(files)} .mcap files ({", ".join(names[:3])}, …); an '
                             'episode is one file: give each by its name')
    return files[0]


def _names_in_metadata(path: Path) -> list[str]:
    try:
        content = yaml.safe_load((path / 'metadata.yaml').read_text(encoding='utf-8'))
        return list(content['rosbag2_bagfile_information']['relative_file_paths'])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return sorted(one.name for one in path.glob('*.mcap'))
