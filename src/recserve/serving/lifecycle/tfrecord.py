"""TFRecord files: each record is its length, a checksum of that, its bytes, and a checksum of them.

    uint64 length | uint32 masked CRC-32C of the 8 bytes before | length bytes | uint32 masked CRC-32C of them

All little-endian. Read here without TensorFlow, and distrusting what is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from recserve.errors import ConfigError

MAX_RECORD_BYTES: Final = 1 << 30
_HEAD: Final = struct.Struct("<QI")
_MASK_DELTA: Final = 0xA282EAD8


def masked_crc(data: bytes) -> int:
    """The checksum as the file has it."""
    from recserve.serving.lifecycle.crc_kernels import crc32c

    crc = int(crc32c(np.frombuffer(data, np.uint8)))
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def read_tfrecords(path: Path) -> Iterator[bytes]:
    """The records of a file, one after the other.

    Raises:
        ConfigError: the file cannot be read, ends within a record, or a checksum differs; names the record.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while head := file.read(_HEAD.size):
                where = f"{path}: record {number}"
                if len(head) < _HEAD.size:
                    raise ConfigError("is cut off", code="bad_tfrecord", where=where)
                length, crc = _HEAD.unpack(head)
                if masked_crc(head[:8]) != crc:
                    hint = "It must be an uncompressed TFRecord file."
                    raise ConfigError("its length has another checksum", code="bad_tfrecord", where=where, hint=hint)
                if length > MAX_RECORD_BYTES:
                    raise ConfigError(f"has {length} bytes", code="bad_tfrecord", where=where)
                content = file.read(length)
                tail = file.read(4)
                if len(content) < length or len(tail) < 4:
                    raise ConfigError("is cut off", code="bad_tfrecord", where=where)
                if masked_crc(content) != int.from_bytes(tail, "little"):
                    raise ConfigError("its bytes have another checksum", code="bad_tfrecord", where=where)
                yield content
                number += 1
    except OSError as error:
        raise ConfigError(f"cannot be read: {error}", code="bad_tfrecord", where=str(path)) from error


def write_tfrecord(content: bytes) -> bytes:
    """One record as the file has it."""
    length = struct.pack("<Q", len(content))
    checks = struct.pack("<I", masked_crc(length)), struct.pack("<I", masked_crc(content))
    return length + checks[0] + content + checks[1]
