"""A plan's ops as instructions for the kernels.

What is generated for a plan is data: one instruction an op, and the constants they point to. The code that runs them is
compiled once for all plans (`kernels`), so that a plan of any size is ready in the time it takes to fill a table, and
nothing is compiled while a request waits. `listing` shows the result to people.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve.dtypes import I64
from recserve.errors import ConfigError, InvariantError
from recserve.features import ops
from recserve.features.codegen_expressions import Code, generate
from recserve.features.custom import Function
from recserve.features.graph import PlanGraph
from recserve.features.kernels import layout as at
from recserve.features.kernels.compare import METHODS
from recserve.features.kernels.hashing import ALGORITHMS
from recserve.features.kernels.nested import PARTS
from recserve.features.kernels.numeric import COMBINERS
from recserve.features.kernels.pairs import KEY, NUMBER, PAIR_VALUE
from recserve.features.ops import Kind, Op

SIZES: Final = {
    Kind.TOKENS: at.TOKENS,
    Kind.NUMBERS: at.EIGHT_BYTES,
    Kind.IDS: at.EIGHT_BYTES,
    Kind.DENSE: at.FOUR_BYTES,
}
"""Size of the elements of each kind of value that has any."""
NO_LIMIT: Final = 2**62
LAST_ID: Final = 2**63 - 1


class Constants:
    """Arrays that instructions point to, each kept once. They live as long as this object."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, bytes], npt.NDArray[Any]] = {}
        self._entries: dict[tuple[Function, int], Any] = {}

    def array(self, values: npt.NDArray[Any]) -> int:
        """Address of a copy of `values`."""
        content = values.tobytes()
        key = (values.dtype.str, content)
        if key not in self._arrays:
            # One element more, so that an empty constant has an address too.
            copy = np.zeros(values.size + 1, values.dtype)
            copy[: values.size] = values.ravel()
            self._arrays[key] = copy
        return int(self._arrays[key].ctypes.data)

    def entry(self, function: Function, inputs: int) -> int:
        """Address of a registered function, compiled for that number of inputs.

        Raises:
            ConfigError: it cannot be compiled.
        """
        from numba.core.errors import NumbaError

        from recserve.features.kernels.custom import entry_of

        key = (function, inputs)
        if key not in self._entries:
            try:
                self._entries[key] = entry_of(function.call, inputs)
            except NumbaError as error:
                problem = str(error).strip().splitlines()[0]
                raise ConfigError(f"function {function.name!r} cannot be compiled: {problem}") from None
        return int(self._entries[key].address)

    def text(self, value: bytes) -> tuple[int, int]:
        """(address, bytes) of a text."""
        return self.array(np.frombuffer(value, np.uint8)), len(value)

    def texts(self, values: Sequence[str]) -> tuple[int, int]:
        """Addresses of the bytes of all texts and of int64[texts + 1] offsets."""
        encoded = [value.encode() for value in values]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return self.text(b"".join(encoded))[0], self.array(offsets)

    def integers(self, values: Sequence[int]) -> int:
        """Address of int64 values."""
        return self.array(np.array(values, np.int64))

    def separators(self, values: Sequence[str]) -> int:
        """Address of a separator table; see `kernels.cells.separator_at`."""
        table = bytearray(257)
        encoded = [value.encode() for value in values]
        starts = {value[0] for value in encoded if len(value) > 1}
        longer = [value for value in encoded if len(value) > 1]
        longer += [value for value in encoded if len(value) == 1 and value[0] in starts]
        for value in encoded:
            table[value[0]] = 2 if value[0] in starts else 1
        table[256] = len(longer)
        for value in longer:
            table += bytes([len(value)]) + value
        return self.array(np.frombuffer(bytes(table), np.uint8))

    def vocabulary(self, words: Sequence[str], results: npt.NDArray[Any]) -> dict[int, int]:
        """Fields P0 to P4 of a lookup in a vocabulary; a later equal word wins. `results` have 8 bytes each."""
        from recserve.features.kernels.ids import build_vocabulary

        last = {word: i for i, word in enumerate(words)}
        text, offsets = self.texts(list(last))
        sizes = np.cumsum([0, *(len(word.encode()) for word in last)], dtype=np.int64)
        size = 4
        while size < 2 * len(last) + 2:
            size *= 2
        table = np.zeros(2 * size, np.int64)
        build_vocabulary(np.frombuffer("".join(last).encode() or b"\0", np.uint8), sizes, table)
        chosen = results[list(last.values())].view(np.int64) if last else results.view(np.int64)
        return {
            at.P0: text,
            at.P1: offsets,
            at.P2: self.array(table),
            at.P3: size - 1,
            at.P4: self.array(chosen),
        }


@dataclass
class Context:
    """What an instruction is made in.

    Attributes:
        graph: the plan.
        slot: the slot in which the stage finds a value.
        column: the number of a column of the stage, by name.
        constants: of the stage.
    """

    graph: PlanGraph
    slot: Callable[[int], int]
    column: Callable[[str], int]
    constants: Constants

    def size_of(self, value: int) -> int:
        """Size of the elements of a value."""
        return SIZES.get(self.graph.values[value].kind, at.EIGHT_BYTES)


Fields = dict[int, int]


def bits(x: float) -> int:
    """The bits of a float64 as int64."""
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def _column_fields(op: Any, context: Context) -> Fields:
    masked = getattr(op, "is_masked", False)
    return {
        at.A: context.column(op.column),
        at.B: -1 if getattr(op, "steps", None) is None else context.slot(op.steps),
        at.P5: context.column(ops.MASK_COLUMN) if masked else -1,
    }


def _of_column(op: Op, context: Context) -> tuple[str, Fields]:
    constants = context.constants
    fields = _column_fields(op, context)
    match op:
        case ops.SplitSteps():
            address, size = constants.text(op.delimiter.encode())
            limit = NO_LIMIT if op.limit is None else op.limit
            return "split_steps", fields | {at.P0: address, at.P1: size, at.P2: limit, at.P3: int(op.fills_empty)}
        case ops.ParseTokens():
            fields |= {at.P0: constants.separators(op.separators), at.P1: int(op.rounds), at.P4: int(op.keeps_empty)}
            return "parse_tokens", fields
        case ops.ParseNumbers():
            return "parse_numbers", fields | {at.P0: constants.separators(op.separators)}
        case ops.NestedPairs():
            return "nested_pairs", fields | {at.P0: PARTS[op.part]}
        case ops.PairKeys() | ops.PairTokens() | ops.PairNumbers():
            address, size = constants.text(op.delimiter.encode())
            fields |= {at.P0: constants.separators(op.separators), at.P1: address, at.P2: size}
            if isinstance(op, ops.PairNumbers):
                return "parse_pairs", fields | {at.P3: bits(op.absent), at.P4: NUMBER}
            return "parse_pairs", fields | {at.P4: KEY if isinstance(op, ops.PairKeys) else PAIR_VALUE}
    raise InvariantError(f"no kernel for {type(op).__name__}")


def _domain_of(value: int, context: Context) -> int:
    domain = context.graph.values[value].domain
    if domain is None:
        raise InvariantError(f"value {value} is not over steps")
    return context.slot(domain)


def _of_steps(op: Op, context: Context) -> tuple[str, Fields] | None:
    slot = context.slot
    match op:
        case ops.Broadcast():
            return "broadcast", {at.A: slot(op.source), at.B: slot(op.steps)}
        case ops.FlattenSteps():
            fields = {at.A: slot(op.source), at.B: _domain_of(op.source, context), at.P0: context.size_of(op.source)}
            return "flatten_steps", fields
        case ops.LongestSteps():
            slots = context.constants.integers([slot(source) for source in op.sources])
            return "longest_steps", {at.P0: slots, at.P1: len(op.sources)}
        case ops.AlignSteps():
            return "align_steps", {at.A: slot(op.source), at.B: slot(op.steps), at.C: _domain_of(op.source, context)}
        case ops.ElementSteps():
            return "element_steps", {at.A: slot(op.source), at.P0: NO_LIMIT if op.limit is None else op.limit}
        case ops.SpreadElements():
            return "spread_elements", {at.A: slot(op.source), at.B: slot(op.steps)}
        case ops.FirstElements():
            return "first_elements", {at.A: slot(op.source), at.P0: op.count}
    return None


def _of_tokens(op: Op, context: Context) -> tuple[str, Fields] | None:
    slot, constants = context.slot, context.constants
    match op:
        case ops.Literal():
            text, offsets = constants.texts(op.tokens)
            rows = constants.integers([0, len(op.tokens)])
            return "literal", {at.P0: text, at.P1: offsets, at.P2: len(op.tokens), at.P3: rows}
        case ops.JoinTokens() | ops.ConcatTokens():
            joiner, size = constants.text(op.joiner.encode())
            slots = constants.integers([slot(source) for source in op.sources])
            fields = {at.P0: slots, at.P1: len(op.sources), at.P2: joiner, at.P3: size, at.P4: ops.MAX_COMBINATIONS}
            return ("join_tokens" if isinstance(op, ops.JoinTokens) else "concat_tokens"), fields
        case ops.PrefixTokens():
            address, size = constants.text(op.prefix.encode())
            return "prefix_tokens", {at.A: slot(op.source), at.P0: address, at.P1: size}
        case ops.SplitTokens():
            return "split_tokens", {at.A: slot(op.source), at.P0: constants.separators(op.separators)}
        case ops.FillTokens():
            text, offsets = constants.texts(op.defaults)
            return "fill_tokens", {at.A: slot(op.source), at.P0: text, at.P1: offsets, at.P2: len(op.defaults)}
        case ops.MaskTokens():
            return "mask_tokens", {at.A: slot(op.source), at.B: slot(op.mask)}
        case ops.AttachWeights():
            fields = {at.A: slot(op.source), at.B: slot(op.weights), at.P0: context.size_of(op.source)}
            return "attach_weights", fields
    return None


def _of_ids(op: Op, context: Context) -> tuple[str, Fields] | None:
    slot, constants = context.slot, context.constants
    match op:
        case ops.HashIds():
            return "hash_ids", {at.A: slot(op.source), at.P0: op.buckets, at.P1: ALGORITHMS[op.algorithm]}
        case ops.VocabIds():
            words, ids = [word for word, _ in op.vocabulary], [id_ for _, id_ in op.vocabulary]
            fields = constants.vocabulary(words, np.array(ids, np.int64))
            return "vocab_ids", {at.A: slot(op.source), **fields, at.P5: op.unknown}
        case ops.VocabNumbers():
            words, numbers = [word for word, _ in op.vocabulary], [x for _, x in op.vocabulary]
            fields = constants.vocabulary(words, np.array(numbers, np.float64))
            return "vocab_ids", {at.A: slot(op.source), **fields, at.P5: bits(float("nan"))}
        case ops.ParseInts():
            last = LAST_ID if op.limit is None else op.limit - 1
            return "parse_ints", {at.A: slot(op.source), at.P0: last, at.P1: op.outside}
        case ops.TruncateToIds():
            return "truncate_to_ids", {at.A: slot(op.source), at.P0: LAST_ID if op.limit is None else op.limit - 1}
        case ops.Bucketize():
            boundaries = np.array(op.boundaries, np.float32)
            return "bucketize", {at.A: slot(op.source), at.P0: constants.array(boundaries), at.P1: len(boundaries)}
        case ops.CrossIds():
            slots = constants.integers([slot(source) for source in op.sources])
            fields = {at.P0: slots, at.P1: len(op.sources), at.P2: op.buckets, at.P4: ops.MAX_COMBINATIONS}
            return "cross_ids", fields
        case ops.SemanticIds():
            fields = {at.P0: constants.integers(op.codebook), at.P1: len(op.codebook)}
            return "semantic_ids", {at.A: slot(op.source), **fields}
        case ops.FillIds():
            fields = {at.P0: constants.integers(op.defaults), at.P1: len(op.defaults)}
            return "fill_ids", {at.A: slot(op.source), **fields}
    return None


_ONE_TO_ONE: Final[dict[type[Op], str]] = {
    ops.IdsToTokens: "ids_to_tokens",
    ops.NumbersToTokens: "numbers_to_tokens",
    ops.IdsToNumbers: "ids_to_numbers",
    ops.TokensToNumbers: "tokens_to_numbers",
    ops.DenseToNumbers: "dense_to_numbers",
}


def _of_numbers(op: Op, context: Context) -> tuple[str, Fields] | None:
    slot, constants = context.slot, context.constants
    if kernel := _ONE_TO_ONE.get(type(op)):
        return kernel, {at.A: slot(op.inputs[0])}
    match op:
        case ops.FillNumbers():
            address = constants.array(np.array(op.defaults, np.float64))
            return "fill_numbers", {at.A: slot(op.source), at.P0: address, at.P1: len(op.defaults)}
        case ops.Normalize():
            fields = {at.P0: int(op.method == "log10"), at.P1: bits(op.a), at.P2: bits(op.b)}
            return "normalize", {at.A: slot(op.source), **fields}
        case ops.CombineNumbers():
            return "combine_numbers", {at.A: slot(op.source), at.P0: COMBINERS[op.combiner], at.P1: op.width}
        case ops.ToDense():
            address = constants.array(np.array(op.default, np.float32))
            return "to_dense", {at.A: slot(op.source), at.P0: address, at.P1: len(op.default)}
        case ops.Overlap():
            fields = {at.A: slot(op.query), at.B: slot(op.title), at.P0: METHODS.index(op.method)}
            return "overlap", fields
        case ops.EditDistance():
            return "edit_distance", {at.A: slot(op.left), at.B: slot(op.right), at.P0: int(op.encoding == "utf-8")}
        case ops.CallCompiled():
            slots = constants.integers([slot(source) for source in op.sources])
            entry = constants.entry(op.function, len(op.sources))
            return "call_compiled", {at.P0: slots, at.P1: len(op.sources), at.P2: entry}
        case ops.Evaluate():
            return "evaluate", _evaluate_fields(op, context, generate(op.expression, op.names))
    return None


def _evaluate_fields(op: ops.Evaluate, context: Context, code: Code) -> Fields:
    slots = [context.slot(source) for source in op.sources]
    used = [int(name in code.variables) for name in op.names]
    return {
        at.P0: context.constants.integers([*slots, *used]),
        at.P1: len(slots),
        at.P2: context.constants.integers(code.steps),
        at.P3: len(code.steps),
        at.P4: code.depth,
        at.P5: int(code.has_vector_functions),
    }


def _of_maps(op: Op, context: Context) -> tuple[str, Fields] | None:
    slot = context.slot
    match op:
        case ops.BuildMap():
            return "build_map", {at.A: slot(op.keys), at.P0: int(op.keeps_all)}
        case ops.LookupNumbers() | ops.LookupIds() | ops.LookupTokens() | ops.DotProduct():
            fields = {at.A: slot(op.map), at.B: slot(op.values), at.C: slot(op.keys)}
            if isinstance(op, ops.LookupNumbers):
                return "lookup_numbers", fields | {at.P0: COMBINERS[op.combiner]}
            if isinstance(op, ops.DotProduct):
                return "dot_product", fields | {at.P0: slot(op.factors)}
            return ("lookup_ids" if isinstance(op, ops.LookupIds) else "lookup_tokens"), fields
    return None


def kernel_of(op: Op, context: Context) -> tuple[str, Fields]:
    """Name of the kernel of an op, and the fields of its instruction that depend on the op.

    Raises:
        InvariantError: there is none.
    """
    for family in (_of_steps, _of_tokens, _of_ids, _of_numbers, _of_maps):
        if (found := family(op, context)) is not None:
            return found
    return _of_column(op, context)


def instruction(fields: Fields) -> I64:
    """int64[INSTRUCTION] with these fields; inputs and the domain are -1 where not given."""
    row = np.zeros(at.INSTRUCTION, np.int64)
    row[[at.A, at.B, at.C, at.DOMAIN]] = -1
    for field, value in fields.items():
        row[field] = value
    return row
