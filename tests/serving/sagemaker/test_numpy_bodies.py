from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.refusals import BodyTooLargeError
from recserve.serving.sagemaker.numpy_bodies import read_npy, read_npz, write_npy, write_npz
from recserve.signatures import numpy_dtype


def npy(tensor: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, tensor, **options)
    return file.getvalue()


def test_a_tensor_comes_back() -> None:
    tensor = np.array([[1.5, 2]], np.float32)
    assert read_npy(write_npy(tensor)).tolist() == tensor.tolist()
    got = read_npz(write_npz({"a": tensor, "b": np.array([1])}), 10_000)
    assert {name: value.tolist() for name, value in got.items()} == {"a": [[1.5, 2]], "b": [1]}
    file = io.BytesIO()
    np.savez_compressed(file, a=tensor)
    assert read_npz(file.getvalue(), 10_000)["a"].tolist() == tensor.tolist()


def test_what_the_format_does_not_know_is_written_plainly() -> None:
    assert read_npy(write_npy(np.array([b"ab", b""], object))).tolist() == [b"ab", b""]
    assert read_npy(write_npy(np.array([1.5], numpy_dtype("bfloat16")))).dtype == np.float32


def test_python_objects_are_never_unpickled() -> None:
    with pytest.raises(RequestError, match=r"the \.npy body cannot be read: Object arrays cannot be loaded"):
        read_npy(npy(np.array([{}], object), allow_pickle=True))


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(RequestError, match=r"the \.npz body cannot be read: File is not a zip file"):
        read_npz(b"PK no zip", 100)
    with pytest.raises(BodyTooLargeError, match=r"the \.npz body inflates to .* bytes, the limit is 100"):
        read_npz(write_npz({"a": np.zeros(1000)}), 100)


@given(st.binary(max_size=60).map(lambda tail: b"\x93NUMPY\x01\x00" + tail) | st.binary(max_size=40))
def test_any_bytes_are_a_tensor_or_refused(body: bytes) -> None:
    with contextlib.suppress(RequestError):
        read_npy(body)
    with contextlib.suppress(RequestError):
        read_npz(body, 1000)
