"""Between ids, numbers and their decimal text, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from recserve.dtypes import I64
from recserve.features.kernels.ids import align
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import EIGHT_BYTES, FOUR_BYTES, NOT_A_NUMBER, OK, OUT, TOKENS, A
from recserve.features.kernels.read_number import read_number
from recserve.features.kernels.rows import (
    fail,
    holder_of,
    packed,
    share_rows,
    take,
    value_at,
)
from recserve.features.kernels.tokens import token_at
from recserve.features.kernels.write_number import MAX_BYTES, write_integer, write_number
from recserve.features.kernels.writer import WRITER, end_token, finish, next_address, open_writer
from recserve.memory import (
    COUNT,
    FIELDS,
    OUT_OF_MEMORY,
    VALUES,
    WEIGHTS,
    view_f32,
    view_f64,
    view_i64,
)


@inner
def _to_tokens(op: I64, run: I64, is_float: bool) -> Any:
    """Write each 8-byte element of A as decimal text."""
    target, address = value_at(run, op[OUT]), packed(run, op[A], EIGHT_BYTES, False)
    if address < 0:
        return OUT_OF_MEMORY
    source = view_i64(address, FIELDS)
    count, weights = source[COUNT], source[WEIGHTS]
    ids, numbers = view_i64(source[VALUES], count), view_f64(source[VALUES], count)
    share_rows(source, target)
    address = open_writer(run, count * MAX_BYTES)
    if address < 0:
        return OUT_OF_MEMORY
    writer = view_i64(address, WRITER)
    for j in range(count):
        at = next_address(writer)
        end_token(writer, write_number(numbers[j], at) if is_float else write_integer(ids[j], at))
    if finish(run, writer, target) != OK:
        return OUT_OF_MEMORY
    target[WEIGHTS] = weights
    return OK


@inner
def ids_to_tokens(op: I64, run: I64) -> Any:
    """IdsToTokens."""
    return _to_tokens(op, run, False)


@inner
def numbers_to_tokens(op: I64, run: I64) -> Any:
    """NumbersToTokens."""
    return _to_tokens(op, run, True)


@inner
def ids_to_numbers(op: I64, run: I64) -> Any:
    """IdsToNumbers."""
    address = align(op, run, EIGHT_BYTES, False)
    if address < 0:
        return OUT_OF_MEMORY
    source = view_i64(address, FIELDS)
    ids, out = view_i64(source[VALUES], source[COUNT]), view_f64(value_at(run, op[OUT])[VALUES], source[COUNT])
    for j in range(source[COUNT]):
        out[j] = ids[j]
    return OK


@inner
def tokens_to_numbers(op: I64, run: I64) -> Any:
    """TokensToNumbers."""
    address = align(op, run, TOKENS, True)
    if address < 0:
        return OUT_OF_MEMORY
    source, target = view_i64(address, FIELDS), value_at(run, op[OUT])
    out = view_f64(target[VALUES], source[COUNT])
    for j in range(source[COUNT]):
        token, size = token_at(source, j)
        is_number, out[j] = read_number(token, size)
        if size == 0:
            out[j] = np.nan
        elif not is_number:
            return fail(op, run, NOT_A_NUMBER, holder_of(target, j), token, size)
    return OK


@inner
def dense_to_numbers(op: I64, run: I64) -> Any:
    """DenseToNumbers."""
    target, address = value_at(run, op[OUT]), packed(run, op[A], FOUR_BYTES, False)
    if address < 0:
        return OUT_OF_MEMORY
    source = view_i64(address, FIELDS)
    share_rows(source, target)
    target[VALUES] = take(run, 8 * source[COUNT])
    if target[VALUES] < 0:
        return OUT_OF_MEMORY
    numbers, out = view_f32(source[VALUES], source[COUNT]), view_f64(target[VALUES], source[COUNT])
    for j in range(source[COUNT]):
        out[j] = numbers[j]
    return OK
