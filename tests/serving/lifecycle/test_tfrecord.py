from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.serving.lifecycle.tfrecord import masked_crc, read_tfrecords, write_tfrecord

LENGTH = "its length has another checksum. It must be an uncompressed TFRecord file."


def slow_masked_crc(data: bytes) -> int:
    """Bit by bit, as the definition says."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_the_checksum_is_castagnolis() -> None:
    rotated = masked_crc(b"123456789") - 0xA282EAD8 & 0xFFFFFFFF
    assert (rotated << 15 | rotated >> 17) & 0xFFFFFFFF == 0xE3069283  # the published check value


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_the_fast_checksum_is_the_slow_one(data: bytes) -> None:
    assert masked_crc(data) == slow_masked_crc(data)


def test_records_come_back(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(b"".join(map(write_tfrecord, (b"one", b"", b"x" * 5000))))
    assert list(read_tfrecords(path)) == [b"one", b"", b"x" * 5000]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda b: b[:-1], "record 1: is cut off"),
        (lambda b: b + b"123", "record 2: is cut off"),
        (lambda b: b[:20] + b"X" + b[21:], f"record 1: {LENGTH}"),
        (lambda b: b[:-5] + b"X" + b[-4:], "record 1: its bytes have another checksum"),
        (lambda _: b"{}" * 20, f"record 0: {LENGTH}"),
    ],
)
def test_a_spoilt_file_is_told(spoil: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(spoil(write_tfrecord(b"one") + write_tfrecord(b"two")))  # type: ignore[operator]
    with pytest.raises(ConfigError) as caught:
        list(read_tfrecords(path))
    assert str(caught.value) == f"{path}: {message}"


def test_hostile_lengths_and_missing_files_are_told(tmp_path: Path) -> None:
    length = (1 << 40).to_bytes(8, "little")
    path = tmp_path / "r"
    path.write_bytes(length + masked_crc(length).to_bytes(4, "little"))
    with pytest.raises(ConfigError, match="has 1099511627776 bytes"):
        list(read_tfrecords(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        list(read_tfrecords(tmp_path))
