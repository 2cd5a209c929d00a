# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Completes an MCAP file: writes its summary behind the messages that are there.

A recorder that was killed, or whose disk was full, leaves a file without a summary, maybe with a
truncated chunk at the end. The messages before it are intact, but readers that need the summary
refuse the file. Source of the format: mcap.dev/spec.
"""

from collections import defaultdict
from collections.abc import Mapping
import fcntl
import io
import os
from pathlib import Path
import struct
from typing import Any
from typing import BinaryIO
import zlib

from vla_ros.errors import VlaError

MAGIC = b'\x89MCAP0\r\n'
_RECORD = struct.Struct('<BQ')
_CHUNK = struct.Struct('<QQQI')


class BagError(VlaError):
    """A bag that cannot be read or written."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f'bag {path}: {problem}')


def is_complete(path: Path) -> bool:
    """
    Return whether a file has the end of an MCAP file.

    :raises BagError: it has not the beginning of one.
    """
    with path.open('rb') as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BagError(path, 'it is not an MCAP file')
        size = file.seek(0, os.SEEK_END)
        if size < 2 * len(MAGIC):
            return False
        file.seek(-len(MAGIC), os.SEEK_END)
        return file.read() == MAGIC


def complete(path: Path, metadata: Mapping[str, Mapping[str, str]] | None = None
             ) -> dict[str, int]:
    """
    Remove a truncated record at the end, and write the summary of the others.

    :param metadata: further metadata records by name, written before the summary.
    :returns: number of messages in the file, by topic.
    :raises BagError: it is no MCAP file, or another process writes it.
    :raises OSError: it cannot be written.
    """
    if path.stat().st_size < len(MAGIC):
        raise BagError(path, 'it is not an MCAP file')
    is_complete(path)
    with path.open('r+b') as file:
        lock(file, path)
        index = _Index()
        end = index.scan(file)
        file.truncate(end)
        file.seek(end)
        file.write(index.tail(end, metadata or {}))
        file.flush()
        os.fsync(file.fileno())
    return index.counts()


def lock(file: BinaryIO, path: Path) -> None:
    """
    Keep other processes from finishing a file; the lock ends with this process.

    :raises BagError: another one writes it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise BagError(path, 'it is being recorded') from None


def is_locked(path: Path) -> bool:
    """Return whether a process is writing a file."""
    with path.open('r+b') as file:
        try:
            lock(file, path)
        except BagError:
            return True
    return False


class _Index:
    """The content of the summary, gathered from the records before it."""

    def __init__(self) -> None:
        self._schemas: dict[int, Any] = {}
        self._channels: dict[int, Any] = {}
        self._chunks: list[Any] = []
        self._metadata: list[Any] = []
        self._counts: dict[int, int] = defaultdict(int)
        self._last_chunk = b''
        self._last_indices: dict[int, list[tuple[int, int]]] = {}

    @property
    def message_count(self) -> int:
        return sum(self._counts.values())

    def counts(self) -> dict[str, int]:
        return {channel.topic: self._counts[number]
                for number, channel in self._channels.items()}

    def scan(self, file: BinaryIO) -> int:
        """Read all intact records; return the offset behind the last one that is kept."""
        from mcap.opcode import Opcode
        size = file.seek(0, os.SEEK_END)
        offset = file.seek(len(MAGIC))
        while offset + _RECORD.size <= size:
            opcode, length = _RECORD.unpack(file.read(_RECORD.size))
            end = offset + _RECORD.size + length
            if end > size or opcode in (Opcode.DATA_END, Opcode.FOOTER):
                break
            if opcode == Opcode.CHUNK:
                if not self._chunk(file, offset, length, is_last=end == size):
                    break
            elif opcode == Opcode.MESSAGE_INDEX:
                self._message_index(file.read(length), offset, end)
            elif opcode == Opcode.METADATA:
                self._remember_metadata(file.read(length), offset, end)
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                self._definitions(_RECORD.pack(opcode, length) + file.read(length))
            offset = file.seek(end)
        return self._repair_last(file, offset)

    def _chunk(self, file: BinaryIO, offset: int, length: int, is_last: bool) -> bool:
        from mcap.records import ChunkIndex
        start, end, full, crc = _CHUNK.unpack(file.read(_CHUNK.size))
        name_length, = struct.unpack('<I', file.read(4))
        compression = file.read(name_length).decode()
        size, = struct.unpack('<Q', file.read(8))
        self._chunks.append(ChunkIndex(
            chunk_length=length + _RECORD.size, chunk_start_offset=offset, compression=compression,
            compressed_size=size, message_end_time=end, message_index_length=0,
            message_index_offsets={}, message_start_time=start, uncompressed_size=full))
        self._last_indices = {}
        if len(self._chunks) == 1 or is_last:
            content = self._content(file.read(size), compression, full)
            if content is None or zlib.crc32(content) != crc:
                self._chunks.pop()
                return False
            self._definitions(content)
        return True

    @staticmethod
    def _content(stored: bytes, compression: str, size: int) -> bytes | None:
        from mcap.records import Chunk
        from mcap.stream_reader import get_chunk_data_stream
        chunk = Chunk(compression=compression, data=stored, message_end_time=0,
                      message_start_time=0, uncompressed_crc=0, uncompressed_size=size)
        try:
            stream, length = get_chunk_data_stream(chunk)
            return stream.read(length)
        except Exception:  # the compressors' own errors, of a truncated chunk
            return None

    def _definitions(self, content: bytes) -> None:
        """Read the schemas and channels in a chunk's content."""
        for record in _records(content):
            kind = type(record).__name__
            if kind == 'Schema':
                self._schemas[record.id] = record
            elif kind == 'Channel':
                self._channels[record.id] = record

    def _message_index(self, content: bytes, offset: int, end: int) -> None:
        channel, length = struct.unpack_from('<HI', content)
        if not self._chunks:
            return
        chunk = self._chunks[-1]
        chunk.message_index_offsets[channel] = offset
        chunk.message_index_length = end - chunk.chunk_start_offset - chunk.chunk_length
        self._counts[channel] += length // 16
        self._last_indices[channel] = []

    def _remember_metadata(self, content: bytes, offset: int, end: int) -> None:
        from mcap.records import MetadataIndex
        length, = struct.unpack_from('<I', content)
        name = content[4:4 + length].decode('utf-8', 'replace')
        self._metadata.append(MetadataIndex(offset=offset, length=end - offset, name=name))

    def _repair_last(self, file: BinaryIO, offset: int) -> int:
        """Rebuild the message indices of the last chunk if some are missing."""
        if not self._chunks:
            return offset
        chunk = self._chunks[-1]
        file.seek(chunk.chunk_start_offset + _RECORD.size + _CHUNK.size)
        name_length, = struct.unpack('<I', file.read(4))
        file.seek(name_length, os.SEEK_CUR)
        size, = struct.unpack('<Q', file.read(8))
        content = self._content(file.read(size), chunk.compression, chunk.uncompressed_size)
        if content is None:
            self._chunks.pop()
            return chunk.chunk_start_offset
        self._definitions(content)
        found = _message_offsets(content)
        if set(found) == set(chunk.message_index_offsets):
            return offset
        for channel in chunk.message_index_offsets:
            self._counts[channel] -= len(found[channel])
        chunk.message_index_offsets.clear()
        self._last_indices = found
        return chunk.chunk_start_offset + chunk.chunk_length

    def tail(self, offset: int, metadata: Mapping[str, Mapping[str, str]]) -> bytes:
        """Return the bytes behind the last kept record, which ends at ``offset``."""
        from mcap.data_stream import RecordBuilder
        from mcap.records import DataEnd
        from mcap.records import MessageIndex
        from mcap.records import Metadata
        from mcap.records import MetadataIndex
        data = RecordBuilder()
        if self._chunks and not self._chunks[-1].message_index_offsets:
            chunk = self._chunks[-1]
            for channel, offsets in self._last_indices.items():
                chunk.message_index_offsets[channel] = offset + data.count
                MessageIndex(channel_id=channel, records=offsets).write(data)
                self._counts[channel] += len(offsets)
            chunk.message_index_length = data.count
        for name, values in metadata.items():
            before = data.count
            Metadata(name=name, metadata=dict(values)).write(data)
            self._metadata.append(MetadataIndex(offset=offset + before,
                                                length=data.count - before, name=name))
        DataEnd(data_section_crc=0).write(data)
        content = data.end()
        return content + self._summary(offset + len(content))

    def _summary(self, offset: int) -> bytes:
        from mcap.data_stream import RecordBuilder
        from mcap.opcode import Opcode
        from mcap.records import Footer
        from mcap.records import Statistics
        from mcap.records import SummaryOffset
        statistics = Statistics(
            attachment_count=0, channel_count=len(self._channels),
            channel_message_counts=dict(self._counts), chunk_count=len(self._chunks),
            message_count=self.message_count, metadata_count=len(self._metadata),
            message_start_time=min((one.message_start_time for one in self._chunks), default=0),
            message_end_time=max((one.message_end_time for one in self._chunks), default=0),
            schema_count=len(self._schemas))
        summary, offsets = RecordBuilder(), []
        for opcode, records in ((Opcode.SCHEMA, self._schemas.values()),
                                (Opcode.CHANNEL, self._channels.values()),
                                (Opcode.STATISTICS, [statistics]),
                                (Opcode.CHUNK_INDEX, self._chunks),
                                (Opcode.METADATA_INDEX, self._metadata)):
            first = summary.count
            for record in records:
                record.write(summary)
            if summary.count > first:
                offsets.append(SummaryOffset(group_opcode=opcode, group_start=offset + first,
                                             group_length=summary.count - first))
        offset_start = offset + summary.count
        for entry in offsets:
            entry.write(summary)
        content = summary.end()
        crc = zlib.crc32(struct.pack('<BQQQ', Opcode.FOOTER, 20, offset, offset_start),
                         zlib.crc32(content))
        footer = RecordBuilder()
        Footer(summary_start=offset, summary_offset_start=offset_start,
               summary_crc=crc).write(footer)
        return content + footer.end() + MAGIC


def _records(content: bytes) -> list[Any]:
    """Parse the schemas and channels of a chunk's content; skip messages."""
    from mcap.data_stream import ReadDataStream
    from mcap.opcode import Opcode
    from mcap.records import Channel
    from mcap.records import Schema
    kinds: dict[int, Any] = {Opcode.SCHEMA: Schema, Opcode.CHANNEL: Channel}
    found, offset = [], 0
    while offset + _RECORD.size <= len(content):
        opcode, length = _RECORD.unpack_from(content, offset)
        offset += _RECORD.size
        if opcode in kinds:
            stream = ReadDataStream(io.BytesIO(content[offset:offset + length]))
            found.append(kinds[opcode].read(stream))
        offset += length
    return found


def _message_offsets(content: bytes) -> dict[int, list[tuple[int, int]]]:
    """Find the messages of a chunk: log time and offset, by channel."""
    from mcap.opcode import Opcode
    found: dict[int, list[tuple[int, int]]] = {}
    offset = 0
    while offset + _RECORD.size <= len(content):
        opcode, length = _RECORD.unpack_from(content, offset)
        if opcode == Opcode.MESSAGE:
            channel, _, log_time = struct.unpack_from('<HIQ', content, offset + _RECORD.size)
            found.setdefault(channel, []).append((log_time, offset))
        offset += _RECORD.size + length
    return found
