"""Event files of TensorBoard, written without it: one scalar a tag and epoch.

A file is a row of records in TFRecord's frame: the length of the data (uint64), its checksum, the
data, their checksum; little endian, CRC-32C, masked. The data are messages `Event` of
tensorflow/core/util/event.proto in the wire format of Protocol Buffers, an epoch each after a first
one that names the version.
"""

import itertools
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from jaxad.storage.atomic import named
from jaxad.training.logs import scalars

NAME = "events.out.tfevents.0.jaxad"
"""Of the file in the folder of a stage; TensorBoard reads what has tfevents in its name."""
FRAME = 12
"""Bytes before the data of a record."""


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The checksum of Castagnoli's polynomial, RFC 3720, appendix B.4.

    Examples:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    found = 0xFFFFFFFF
    for byte in data:
        found = found >> 8 ^ TABLE[(found ^ byte) & 0xFF]
    return found ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    found = crc32c(data)
    return struct.pack("<I", ((found >> 15 | found << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(data: bytes) -> bytes:
    """A record that holds `data`."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _nested(field: int, data: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def version(wall_time: float) -> bytes:
    """The `Event` that a file begins with; `wall_time` in seconds since 1970."""
    return struct.pack("<Bd", 0x09, wall_time) + _nested(3, b"brain.Event:2")


def event(wall_time: float, step: int, values: Mapping[str, float]) -> bytes:
    """The `Event` of a step, with a scalar for every tag."""
    each = (_nested(1, tag.encode()) + struct.pack("<Bf", 0x15, v) for tag, v in values.items())
    summary = b"".join(_nested(1, value) for value in each)
    return struct.pack("<Bd", 0x09, wall_time) + b"\x10" + _varint(step) + _nested(5, summary)


def ends(content: bytes) -> Iterator[int]:
    """Where each record ends, up to the first one that is torn or damaged."""
    place = 0
    while place + FRAME <= len(content):
        head = content[place : place + 8]
        stop = place + FRAME + struct.unpack("<Q", head)[0]
        data = content[place + FRAME : stop]
        if content[place + 8 : place + FRAME] != _masked(head):
            return
        if content[stop : stop + 4] != _masked(data):
            return
        place = stop + 4
        yield place


def writer(folder: Path) -> Callable[[list[dict]], None]:
    """Function that brings the event file in `folder` up to date with the history of a stage.

    What an interrupted run wrote beyond its checkpoint is cut off first: no epoch is there twice.
    """
    path, written = folder / NAME, -1

    def write(history: list[dict]) -> None:
        nonlocal written
        with named(path):
            folder.mkdir(parents=True, exist_ok=True)
            if written < 0:
                written = _cut(path, len(history))
            with path.open("ab") as file:
                for record in history[written:]:
                    file.write(framed(event(time.time(), record["epoch"], scalars(record))))
        written = len(history)

    return write


def _cut(path: Path, n_epochs: int) -> int:
    """Leaves at most so many epochs in a file, which it begins if need be; how many there are."""
    content = path.read_bytes() if path.exists() else b""
    kept = list(itertools.islice(ends(content), n_epochs + 1))
    with path.open("ab") as file:
        file.truncate(kept[-1] if kept else 0)
        if not kept:
            file.write(framed(version(time.time())))
    return max(len(kept) - 1, 0)
