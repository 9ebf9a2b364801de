"""The candidate forms of a rank request, brought to the two that a ranker takes: ids, or columns.

    ["a", "b"]                                     ids
    {"item_id": ["a", "b"], "position": [1, 2]}    columns: the fast form for per-candidate context
    [{"item_id": "a", "position": 1}, ...]         objects

A column of rows of numbers may be an array [N, k] already, where it comes packed or was read so: it stays one.

Objects become columns through C loops (`map` with `itemgetter`, set operations): no Python byte code runs per candidate
unless the request is wrong. It still costs more than the decoding of JSON itself, which columns make cheap as well.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from operator import itemgetter, methodcaller
from typing import Any, Final

import numpy as np

from recserve.errors import DataError, RequestError
from recserve.serving.contract import Candidates, Cells, ItemId

ITEM_ID: Final = "item_id"
PLACE: Final = "$.candidates"
_FORMS: Final = 'Give ["id", ...], [{"item_id": "id", ...}, ...] or {"item_id": ["id", ...], ...}.'
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}")
_INT64_MAX: Final = 2**63 - 1
_INT64_MIN: Final = -(2**63)


def parse_candidates(value: object, max_candidates: int) -> Candidates:
    """The candidates of a request as ids or columns.

    A column that some objects lack is None there. An id that appears twice is kept at both positions.

    Raises:
        RequestError: not one of the three forms, no candidates, or more than `max_candidates`.
        DataError: an id is missing, neither string nor integer, or beyond int64; ids of both types; columns of
            different lengths.
    """
    if isinstance(value, list):
        _check_count(len(value), max_candidates)
        if isinstance(value[0], dict):
            return _from_objects(value)
        return _check_ids(value, PLACE)
    if isinstance(value, dict):
        return _from_columns(value, max_candidates)
    raise RequestError(f"expected a list or an object, got {json_type(value)}", where=PLACE, hint=_FORMS)


def row_of(candidates: Candidates, position: int) -> dict[str, Any]:
    """{column: cell} of one candidate, as Python values; empty where the candidates are ids."""
    if not isinstance(candidates, Mapping):
        return {}
    return {
        name: cells[position].tolist() if isinstance(cells, np.ndarray) else cells[position]
        for name, cells in candidates.items()
    }


def parse_inline_items(value: object, candidates: Candidates) -> Mapping[Any, Mapping[str, Any]] | None:
    """The inline item columns by id; JSON's string keys become integers when the candidates are integers.

    Raises:
        RequestError: not an object of objects.
        DataError: the candidates are integers and a key is not.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise RequestError(f"expected an object, got {json_type(value)}", where="$.items", hint=_ITEMS_FORM)
    if set(map(type, value.values())) - {dict}:
        key = next(k for k, v in value.items() if not isinstance(v, dict))
        raise RequestError(
            f"expected an object, got {json_type(value[key])}", where=f"$.items[{key!r}]", hint=_ITEMS_FORM
        )
    ids: Any = candidates[ITEM_ID] if isinstance(candidates, Mapping) else candidates
    if isinstance(ids[0], str):
        return value
    if all(map(_INTEGER.fullmatch, value)):
        keys = list(map(int, value))
        if not keys or (max(keys) <= _INT64_MAX and min(keys) >= _INT64_MIN):
            return dict(zip(keys, value.values(), strict=True))
    key = next(k for k in value if not (_INTEGER.fullmatch(k) and _INT64_MIN <= int(k) <= _INT64_MAX))
    raise DataError(
        f"expected an integer id, got {key[:40]!r}",
        where="$.items",
        hint="The candidates of this request are integers.",
    )


_ITEMS_FORM: Final = 'Give {"id": {"column": value, ...}, ...}.'


def json_type(value: object) -> str:
    """What a decoded value was in JSON: `a string`, `null`, ..."""
    names: dict[type, str] = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "null")


def _from_objects(rows: list[Any]) -> Mapping[str, Sequence[Any]]:
    if set(map(type, rows)) != {dict}:
        at = next(i for i, row in enumerate(rows) if not isinstance(row, dict))
        raise DataError(
            f"expected an object like the first candidate, got {json_type(rows[at])}",
            where=f"{PLACE}[{at}]",
            hint=_FORMS,
        )
    names = list(dict.fromkeys(rows[0])) + sorted(set().union(*rows) - set(rows[0]))
    if set(map(len, rows)) == {len(names)}:  # every object has every name
        columns = {name: list(map(itemgetter(name), rows)) for name in names}
    else:
        columns = {name: list(map(methodcaller("get", name), rows)) for name in names}
    _check_ids(_id_column(columns), PLACE, f".{ITEM_ID}")
    return columns


def _from_columns(columns: dict[str, Any], max_candidates: int) -> Mapping[str, Cells]:
    ids = _id_column(columns)
    if isinstance(ids, np.ndarray):
        columns[ITEM_ID] = ids = ids.tolist()
    for name, values in columns.items():
        if not isinstance(values, list | np.ndarray):
            raise DataError(
                f"expected a list with one value per candidate, got {json_type(values)}", where=f"{PLACE}.{name}"
            )
    _check_count(len(ids), max_candidates)
    for name, values in columns.items():
        if len(values) != len(ids):
            raise DataError(
                f"{len(values)} values for {len(ids)} candidates",
                where=f"{PLACE}.{name}",
                hint="Give one value per candidate; null where there is none.",
            )
    _check_ids(ids, f"{PLACE}.{ITEM_ID}")
    return columns


def _id_column(columns: Mapping[str, Any]) -> Any:
    if ITEM_ID in columns:
        return columns[ITEM_ID]
    near = difflib.get_close_matches(ITEM_ID, columns, n=1)
    hint = f"Rename {near[0]!r}." if near else _FORMS
    raise DataError(f"no {ITEM_ID!r} among the columns", where=PLACE, hint=hint)


def _check_count(count: int, max_candidates: int) -> None:
    if count == 0:
        raise RequestError("no candidates", code="empty_candidates", where=PLACE, hint=_FORMS)
    if count > max_candidates:
        raise RequestError(
            f"{count} candidates, the limit is {max_candidates}",
            code="too_many_candidates",
            where=PLACE,
            hint="Split the request, or raise --max-candidates.",
        )


def _check_ids(ids: list[Any], place: str, suffix: str = "") -> Sequence[ItemId]:
    kinds = set(map(type, ids))
    if kinds == {str}:
        return ids
    if kinds == {int}:
        if max(ids) <= _INT64_MAX and min(ids) >= _INT64_MIN:
            return ids
        at = next(i for i, v in enumerate(ids) if not _INT64_MIN <= v <= _INT64_MAX)
        raise DataError(f"{ids[at]} is beyond int64", where=f"{place}[{at}]{suffix}")
    bad = next((i for i, v in enumerate(ids) if type(v) not in (str, int)), None)
    if bad is None:
        bad = next(i for i, v in enumerate(ids) if type(v) is not type(ids[0]))
        problem = f"expected {json_type(ids[0])} like the first candidate, got {json_type(ids[bad])}"
    else:
        problem = f"expected an item id (string or integer), got {_shown(ids[bad])}"
    raise DataError(problem, where=f"{place}[{bad}]{suffix}")


def _shown(value: object) -> str:
    return f"{json_type(value)} ({value})" if isinstance(value, float | bool) else json_type(value)
