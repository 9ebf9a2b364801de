import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.samples import writer as writer_module
from recserve.samples.records import ServedRecord, decode_records, read_records
from recserve.samples.writer import RecordWriter


def a_record(n: int) -> ServedRecord:
    return ServedRecord(f"r{n}", n, "u", {"n": n}, {}, ["a", "b"], np.array([0.5, 0.25]))


@pytest.mark.parametrize("kind", ["ndjson", "parquet"])
def test_what_is_written_is_read_back_in_order_over_rolled_files(tmp_path, kind):
    with RecordWriter(tmp_path / "log", format=kind, roll_records=40) as writer:
        assert all(writer.write(a_record(n)) for n in range(100))
    assert (writer.written, writer.dropped, writer.failed) == (100, 0, 0)
    assert sorted(path.suffix for path in (tmp_path / "log").iterdir()) == [f".{kind}"] * 3
    assert [record.request_id for record in decode_records(read_records(tmp_path / "log"))] == [
        f"r{n}" for n in range(100)
    ]


def test_flushed_records_are_readable_while_the_file_is_open(tmp_path):
    with RecordWriter(tmp_path) as writer:
        writer.write(a_record(0))
        writer.flush()
        assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
        assert len(read_records(tmp_path)) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".ndjson"]


def test_a_full_queue_drops_and_counts_and_never_blocks(tmp_path, monkeypatch):
    gate, entered = threading.Event(), threading.Event()
    encode = writer_module.encode_record

    def slow(record):
        entered.set()
        gate.wait()
        return encode(record)

    monkeypatch.setattr(writer_module, "encode_record", slow)
    writer = RecordWriter(tmp_path, queue_size=2)
    writer.write(a_record(0))
    entered.wait()
    assert [writer.write(a_record(n)) for n in range(1, 5)] == [True, True, False, False]
    gate.set()
    writer.close()
    assert (writer.written, writer.dropped) == (3, 2)


def test_a_record_that_cannot_be_encoded_is_counted_and_the_rest_is_written(tmp_path, caplog):
    with caplog.at_level(logging.WARNING), RecordWriter(tmp_path) as writer:
        writer.write(ServedRecord("bad", 1, "u", {"x": object()}, {}, [], []))
        writer.write(a_record(1))
    assert (writer.written, writer.failed) == (1, 1)
    assert "record 'bad': user: column 'x': a cell is object" in caplog.text


def test_a_closed_writer_drops_and_closes_twice(tmp_path):
    writer = RecordWriter(tmp_path)
    writer.close()
    writer.close()
    assert writer.write(a_record(1)) is False
    assert writer.dropped == 1
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_is_completed(tmp_path):
    with RecordWriter(tmp_path, roll_seconds=1e-9) as writer:
        writer.write(a_record(0))
        writer.flush()
        assert [path.suffix for path in tmp_path.iterdir()] == [".ndjson"]


def test_writers_share_a_folder(tmp_path):
    with RecordWriter(tmp_path) as one, RecordWriter(tmp_path) as two:
        one.write(a_record(1))
        two.write(a_record(2))
    assert sorted(read_records(tmp_path)["request_id"].to_pylist()) == ["r1", "r2"]


def test_wrong_options_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"the format of records is 'parket'\. Did you mean 'parquet'\?"):
        RecordWriter(tmp_path, format="parket")
    with pytest.raises(ConfigError, match=r"queue_size is 0\. Give a number above 0."):
        RecordWriter(tmp_path, queue_size=0)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as caught:
        RecordWriter(tmp_path / "file" / "records")
    assert str(caught.value) == f"{tmp_path / 'file' / 'records'}: records cannot be kept: Not a directory"
