"""Bodies of NumPy's own formats: .npy is one tensor, .npz several by name. Nothing in them is unpickled."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recserve.errors import RequestError
from recserve.serving.refusals import BodyTooLargeError

NPY_TYPE: Final = "application/x-npy"
NPZ_TYPE: Final = "application/x-npz"


def read_npy(body: bytes) -> NDArray[Any]:
    """The tensor of a .npy file.

    Raises:
        RequestError: it is none, or holds Python objects.
    """
    try:
        return np.lib.format.read_array(io.BytesIO(body), allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError, SyntaxError, OverflowError) as error:
        raise RequestError(f"the .npy body cannot be read: {error}", where="body") from None


def read_npz(body: bytes, max_bytes: int) -> dict[str, NDArray[Any]]:
    """The tensors of a .npz file by name.

    Raises:
        RequestError: it is none, or holds Python objects.
        BodyTooLargeError: its tensors inflate to more than `max_bytes`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            if (size := sum(entry.file_size for entry in archive.infolist())) > max_bytes:
                raise BodyTooLargeError(f"the .npz body inflates to {size} bytes, the limit is {max_bytes}")
            return {name.removesuffix(".npy"): read_npy(archive.read(name)) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise RequestError(f"the .npz body cannot be read: {error}", where="body") from None


def write_npy(tensor: NDArray[Any]) -> bytes:
    """A .npy file; text as fixed-width bytes.

    Raises:
        RequestError: the tensor is of a dtype that the format has no form for.
    """
    file = io.BytesIO()
    np.lib.format.write_array(file, _plain(tensor), allow_pickle=False)
    return file.getvalue()


def write_npz(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """A .npz file of tensors by name; text as fixed-width bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, tensor in tensors.items():
            archive.writestr(f"{name}.npy", write_npy(tensor))
    return file.getvalue()


def _plain(tensor: NDArray[Any]) -> NDArray[Any]:
    if tensor.dtype.kind == "O":
        return tensor.astype(bytes)
    if tensor.dtype.kind == "V":  # bfloat16, which NumPy's format does not know
        return tensor.astype(np.float32)
    return tensor
