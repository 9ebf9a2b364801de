"""The plan as data: ops, what is known of their values, and which values are features.

`lower` makes a graph from feature configs, `passes` rewrite it, `verify` checks it between passes, `reference`
interprets it slowly, and `compiled` runs it fast, whole or by rate.
"""

from __future__ import annotations

from dataclasses import dataclass

from recserve.features.ops import Op, Value
from recserve.features.outputs import OutputSpec
from recserve.rates import Rate


@dataclass(frozen=True)
class GraphOutput:
    """A feature and the value that holds it.

    Attributes:
        spec: the feature as the network sees it; `spec.rate` is the rate of `value`.
        value: number of a DENSE, IDS, or (where no id mapping is configured) TOKENS value.
        steps: number of the STEPS value whose steps are the rows of `value`; None if not a sequence.
    """

    spec: OutputSpec
    value: int
    steps: int | None = None


@dataclass(frozen=True)
class PlanGraph:
    """Ops in an order in which each comes after its inputs; op i produces value i.

    Attributes:
        ops: see `ops`.
        values: of the same length; kind, rate and domain of each op's value.
        outputs: the features in config order, without stubs.
    """

    ops: tuple[Op, ...]
    values: tuple[Value, ...]
    outputs: tuple[GraphOutput, ...]

    def of_rate(self, rate: Rate) -> tuple[int, ...]:
        """Numbers of the ops of this rate, in order."""
        return tuple(i for i, value in enumerate(self.values) if value.rate is rate)

    def crossings(self, producer: Rate, consumer: Rate) -> tuple[int, ...]:
        """Numbers of the values of rate `producer` that ops of rate `consumer` read, in order."""
        read = {i for j in self.of_rate(consumer) for i in self.ops[j].inputs}
        return tuple(i for i in sorted(read) if self.values[i].rate is producer)
