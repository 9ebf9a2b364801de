"""What a PyTorch file is, and whether reading it runs code.

`torch.export.load` unpickles what does not load as tensors, looks functions up by the names that the file gives, and
evaluates its size expressions as Python. `check_exported` reads the file's text first, without PyTorch's reader, and
lets pass tensor ops, arithmetic on sizes and plain tensors only.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from recserve.errors import ConfigError

EXPORTED: Final = "torch.export"
SCRIPT: Final = "torchscript"
WEIGHTS: Final = "weights"

MAX_TEXT: Final = 1 << 28
"""Bytes of a JSON file of an exported program."""

_OPS: Final = re.compile(
    r"torch\.ops\.(aten|prims|prim|quantized_decomposed|higher_order)\.(?!__init)\w+(\.(?!__)\w+)?"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|getitem|inv"
    r"|invert|lshift|rshift|matmul)"
    r"|torch\._?sym_[a-z]\w*"
    r"|math\.[a-z]\w*"
)
_ATEN_DUNDER: Final = re.compile(r"__i?(and|or|xor|lshift|rshift)__")
_FUNCTIONS: Final = re.compile(
    r"BitwiseFn_bitwise_(and|or|xor)|(Ceil|Clean|Floor)Div|(Ceil|Floor|Round|Trunc)ToInt|(To|TruncTo)Float|Float(Pow|TrueDiv)"
    r"|Identity|IntTrueDiv|[LR]Shift|Max|Min|Mod|PythonMod|ModularIndexing|PowByNatural|RoundDecimal|Where|Add|Mul|Pow"
    r"|Eq|Ne|Lt|Le|Gt|Ge|(Une|E)quality|(Strict)?(Less|Greater)Than|And|Or|Not|Abs|floor|ceiling|Piecewise|ExprCondPair"
    r"|Rational|Integer|Float|OpaqueUnaryFn_(acos|asin|asinh|atan|cos|cosh|exp|log|log2|sin|sinh|sqrt|tan|tanh)"
)
_SYMBOL: Final = re.compile(r"Symbol\('\w+'(, [a-z_]+=(True|False))*\)")
_EXPRESSION: Final = re.compile(r"[\w\s+\-*/%(),.<>=!&|~]*")
_CALL: Final = re.compile(r"([A-Za-z_]\w*)\s*\(")
_ATTRIBUTE: Final = re.compile(r"\.\s*[A-Za-z_]|__|\*\*\s*[\d(][\d\s*(]{6,}")
_LONGEST: Final = 4096


def find_kind(path: Path) -> str:
    """What a file is: `EXPORTED`, `SCRIPT` or `WEIGHTS`.

    Raises:
        ConfigError: "damaged_model" where it is no file of PyTorch 1.6 or later.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _damaged(f"it is no file of PyTorch 1.6 or later: {error}", str(path)) from error
    kind = kind_of(frozenset(names))
    if kind is None:
        raise _damaged("the zip file is none of PyTorch's", str(path))
    return kind


def kind_of(names: frozenset[str]) -> str | None:
    """What a zip file with these members is; None where it is none of PyTorch's."""
    inner = {name.partition("/")[2] for name in names}
    if "archive_format" in inner or "serialized_exported_program.json" in names:
        return EXPORTED
    if "data.pkl" in inner:
        return SCRIPT if any(name.startswith("code/") for name in inner) else WEIGHTS
    return None


def check_exported(path: Path) -> None:
    """Refuse an exported program that could run code when it is read.

    Raises:
        ConfigError: "damaged_model", naming the member of the zip file and what it asks for: a packed member (PyTorch
            packs none), pickled objects, a function that is no tensor op, or a size that is no arithmetic.
    """
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            where = f"{path}: {info.filename}"
            if info.compress_type != zipfile.ZIP_STORED:
                raise _damaged("the member is packed, and PyTorch packs none", where)
            if info.filename.endswith(".json"):
                if info.file_size > MAX_TEXT:
                    raise _damaged(f"the text has {info.file_size} bytes, more than {MAX_TEXT}", where)
                _check_text(archive.read(info), where)
            elif info.filename.endswith(".pt"):
                _check_tensors(archive.read(info), where)
            elif "/executorch/" in info.filename or "/aotinductor/" in info.filename or "opaque_obj" in info.filename:
                raise _damaged("the file holds compiled code or objects, not a graph of tensor ops", where)


def _check_text(data: bytes, where: str) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(f"it is no JSON: {error}", where) from error
    for key, value in _entries(document):
        if key == "use_pickle" and value:
            raise _damaged("a weight or constant is pickled; tensors are not", where)
        if key == "target" and isinstance(value, str) and not _is_op(value):
            raise _damaged(f"it calls {value!r}, which is no tensor op", where)
        if key == "expr_str" and not (isinstance(value, str) and _is_arithmetic(value)):
            raise _damaged(f"the size {str(value)[:200]!r} is no arithmetic", where)


def _entries(document: Any) -> Iterator[tuple[str, Any]]:
    """Every key of every object, with its value."""
    waiting = [document]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield from found.items()
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _is_op(target: str) -> bool:
    if not _OPS.fullmatch(target):
        return False
    return all(not part.startswith("__") or _ATEN_DUNDER.fullmatch(part) for part in target.split("."))


def _is_arithmetic(text: str) -> bool:
    text = _SYMBOL.sub("s", text) if len(text) <= _LONGEST else "?"
    if not _EXPRESSION.fullmatch(text) or _ATTRIBUTE.search(text):
        return False
    return all(_FUNCTIONS.fullmatch(name) for name in _CALL.findall(text))


def _check_tensors(data: bytes, where: str) -> None:
    """Refuse what PyTorch would unpickle as objects, for want of a reading as tensors."""
    if not data:
        return
    import torch

    try:
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, RuntimeError, and what a damaged file leads to
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise _damaged(f"it holds more than tensors, or is damaged: {first}", where) from error


def _damaged(problem: str, where: str) -> ConfigError:
    return ConfigError(problem, code="damaged_model", where=where)
