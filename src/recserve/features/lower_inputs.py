"""Lowering of inputs: columns and other features to tokens, numbers and pairs, in one domain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from recserve.errors import ConfigError
from recserve.features import ops
from recserve.features.check import resolve_reference
from recserve.features.declared import Declared, Input
from recserve.features.infer import infer
from recserve.features.ops import Kind, Op, Value
from recserve.features.spec_types import ComboFeature, IdFeature


@dataclass(frozen=True)
class Lowered:
    """A feature that is lowered.

    Attributes:
        value: number of its value.
        steps: number of the STEPS value that it is over; None over rows.
    """

    value: int
    steps: int | None


@dataclass
class Builder:
    """A plan under construction: ops and what is known of their values."""

    ops: list[Op] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    features: dict[str, Lowered] = field(default_factory=dict)
    """Features so far, by name."""

    def add(self, op: Op, feature: str) -> int:
        """Append an op; the number of its value."""
        self.values.append(infer(op, len(self.ops), self.ops, self.values, feature))
        self.ops.append(op)
        return len(self.ops) - 1


@dataclass
class Operand:
    """Values of one input in one domain, such as the keys and the numbers of pairs.

    Attributes:
        values: their numbers.
        steps: the STEPS value that they are over; None over rows.
    """

    values: tuple[int, ...]
    steps: int | None


class FeatureInputs:
    """Reads the inputs of one feature."""

    def __init__(self, feature: Declared, builder: Builder, encoded_separator: str = "") -> None:
        self.feature, self.builder = feature, builder
        self.separators = feature.separators
        if feature.mode == "encoded":
            self.separators = (encoded_separator,)
        elif feature.mode == "bucketize" and encoded_separator not in self.separators:
            self.separators = (*self.separators, encoded_separator)
        self.treats_all_as_sequences = feature.is_sequence and not any(map(self._has_steps, feature.inputs))

    def add(self, op: Op) -> int:
        """Append an op of this feature."""
        return self.builder.add(op, self.feature.name)

    def _has_steps(self, given: Input) -> bool:
        if given.side == "feature":
            return self._target(given).steps is not None
        return given.is_sequence

    def _target(self, given: Input) -> Lowered:
        name = resolve_reference(self.feature, given.name, given.column, self.builder.features)
        if name is None:
            raise ConfigError(f"there is no feature {given.column!r}", where=f"feature {self.feature.name!r}")
        return self.builder.features[name]

    # ---- one input

    def _steps(self, given: Input) -> int | None:
        """The steps of a column, None where its cells are not cut into steps."""
        if self.feature.is_spread or not (given.is_sequence or self.treats_all_as_sequences):
            return None
        feature = self.feature
        fills = feature.profile.fills_sequences if feature.mode != "encoded" else bool(feature.encoded_default)
        op = ops.SplitSteps(
            given.column, self._side(given), feature.delimiter, feature.limit, fills, self._is_masked(given)
        )
        return self.add(op)

    def _side(self, given: Input) -> str:
        """Columns of a group are state of the user, whatever side they came from."""
        return "user" if self.feature.group and given.is_sequence else given.side

    def _is_masked(self, given: Input) -> bool:
        return self.feature.spec.use_mask and given == self.feature.inputs[0]

    def tokens(self, given: Input, separators: tuple[str, ...] | None = None, keeps_empty: bool = False) -> Operand:
        """The tokens of an input; without separators its texts."""
        separators = self.separators if separators is None else separators
        if given.side == "const":
            return Operand((self.add(ops.Literal(split_text(given.name, separators))),), None)
        if given.side == "feature":
            return self._feature_tokens(given, separators)
        steps, side, masked = self._steps(given), self._side(given), self._is_masked(given)
        rounds = self.feature.profile.rounds_float_ids and isinstance(self.feature.spec, (IdFeature, ComboFeature))
        op = ops.ParseTokens(given.column, side, separators, steps, masked, keeps_empty, rounds)
        return Operand((self.add(op),), steps)

    def numbers(self, given: Input) -> Operand:
        """The numbers of an input."""
        if given.side == "const":
            tokens = self.tokens(given)
            return Operand((self.add(ops.TokensToNumbers(tokens.values[0])),), None)
        if given.side == "feature":
            return self._feature_numbers(given)
        steps, side, masked = self._steps(given), self._side(given), self._is_masked(given)
        return Operand((self.add(ops.ParseNumbers(given.column, side, self.separators, steps, masked)),), steps)

    def pairs(
        self, given: Input, delimiter: str = ":", absent: float | None = None, separators: tuple[str, ...] | None = None
    ) -> Operand:
        """Keys and values of pairs: values as numbers (`absent` where a pair has none), or as tokens without it."""
        if given.side in ("feature", "const"):
            problem = f"input '{given.side}:{given.name}' holds no key-value pairs"
            raise ConfigError(problem, where=f"feature {self.feature.name!r}", hint="Name a column")
        separators = self.separators if separators is None else separators
        steps, side, masked = self._steps(given), self._side(given), self._is_masked(given)
        keys = self.add(ops.PairKeys(given.column, side, separators, delimiter, steps, masked))
        if absent is None:
            values = self.add(ops.PairTokens(given.column, side, separators, delimiter, steps, masked))
        else:
            values = self.add(ops.PairNumbers(given.column, side, separators, delimiter, absent, steps, masked))
        return Operand((keys, values), steps)

    def nested_pairs(self, given: Input) -> Operand:
        """Outer keys, inner keys and values of a nested map, as tokens."""
        if given.side in ("feature", "const"):
            problem = f"input '{given.side}:{given.name}' holds no nested map"
            raise ConfigError(problem, where=f"feature {self.feature.name!r}", hint="Name a column")
        steps, side, masked = self._steps(given), self._side(given), self._is_masked(given)
        parts = ("outer", "inner", "value")
        numbers = [self.add(ops.NestedPairs(given.column, side, part, steps, masked)) for part in parts]
        return Operand(tuple(numbers), steps)

    # ---- outputs of other features, after their id mapping

    def _feature_tokens(self, given: Input, separators: tuple[str, ...]) -> Operand:
        target = self._target(given)
        value = target.value
        match self.builder.values[value].kind:
            case Kind.IDS:
                value = self.add(ops.IdsToTokens(value))
            case Kind.DENSE:
                value = self.add(ops.NumbersToTokens(self.add(ops.DenseToNumbers(value))))
            case Kind.TOKENS if separators:
                value = self.add(ops.SplitTokens(value, separators))
        return self._flat(value, target.steps)

    def _feature_numbers(self, given: Input) -> Operand:
        target = self._target(given)
        value = target.value
        match self.builder.values[value].kind:
            case Kind.IDS:
                value = self.add(ops.IdsToNumbers(value))
            case Kind.DENSE:
                value = self.add(ops.DenseToNumbers(value))
            case _:
                value = self.add(ops.TokensToNumbers(self.add(ops.SplitTokens(value, self.separators))))
        return self._flat(value, target.steps)

    def _flat(self, value: int, steps: int | None) -> Operand:
        if steps is not None and (not self.feature.is_sequence or self.feature.is_spread):
            return Operand((self.add(ops.FlattenSteps(value)),), None)
        return Operand((value,), steps)

    # ---- all inputs

    def unify(self, operands: Sequence[Operand]) -> tuple[list[tuple[int, ...]], int | None]:
        """The operands in one domain, and its steps: row values are repeated, different steps are aligned."""
        distinct = list(dict.fromkeys(operand.steps for operand in operands if operand.steps is not None))
        if not distinct:
            return [operand.values for operand in operands], None
        steps = distinct[0] if len(distinct) == 1 else self.add(ops.LongestSteps(tuple(distinct)))
        return [tuple(self._moved(operand, steps)) for operand in operands], steps

    def _moved(self, operand: Operand, steps: int) -> Iterable[int]:
        for value in operand.values:
            if operand.steps is None:
                yield self.add(ops.Broadcast(value, steps))
            else:
                yield value if operand.steps == steps else self.add(ops.AlignSteps(value, steps))


def split_text(text: str, separators: tuple[str, ...]) -> tuple[str, ...]:
    """A text cut at any of `separators`, empty parts dropped; whole without separators."""
    if not separators:
        return (text,) if text else ()
    for separator in separators[1:]:
        text = text.replace(separator, separators[0])
    return tuple(part for part in text.split(separators[0]) if part)
