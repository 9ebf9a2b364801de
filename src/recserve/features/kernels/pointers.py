"""Single elements by address.

A view of one element would do, but Numba makes a whole array of it; loops that touch few bytes of many values feel it,
and so does the time to compile them.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _loader(element: Any) -> Any:
    """The intrinsic that reads an `element` at an address."""

    @intrinsic
    def load_element(typingctx: Any, address: Any) -> Any:  # noqa: ARG001  (numba passes the typing context)
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
            kind = context.get_value_type(element)
            return builder.load(builder.inttoptr(args[0], kind.as_pointer()), typ=kind)

        return element(types.int64), codegen

    return load_element


def _storer(element: Any) -> Any:
    """The intrinsic that writes an `element` to an address."""

    @intrinsic
    def store_element(typingctx: Any, address: Any, value: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
            kind = context.get_value_type(element)
            builder.store(args[1], builder.inttoptr(args[0], kind.as_pointer()))
            return context.get_dummy_value()

        return types.void(types.int64, element), codegen

    return store_element


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:  # noqa: ARG001
    """Ask for the cache line at an address; any address is safe."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        word = cgutils.ir.IntType(32)
        kind = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [cgutils.voidptr_t, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, all_levels, data = (cgutils.ir.Constant(word, value) for value in (0, 3, 1))
        builder.call(function, [builder.inttoptr(args[0], cgutils.voidptr_t), read, all_levels, data])
        return context.get_dummy_value()

    return types.none(types.int64), codegen


load = _loader(types.int64)
load_i32 = _loader(types.int32)
load_u8 = _loader(types.uint8)
load_f64 = _loader(types.float64)
load_f32 = _loader(types.float32)
store = _storer(types.int64)
store_i32 = _storer(types.int32)
store_f64 = _storer(types.float64)
store_f32 = _storer(types.float32)
