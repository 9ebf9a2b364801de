"""What a lowered model gives to its surroundings: the prediction and everything that an OutputField may ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from recserve.importers.pmml.document import Element
    from recserve.importers.pmml.scope import Field, Scope, Typed
    from recserve.scoring.graph import Graph, Value


class Rules(Protocol):
    """Association rules: what an OutputField may ask for."""

    def lower(self, feature: str, element: Element, scope: Scope) -> Typed:
        """The feature ("antecedent", "consequent", "rule", "ruleId", "confidence", "support", "lift", "leverage",
        "affinity") of the rules that fire, as `element` (rank, rankBasis, algorithm, isMultiValued) asks for it.
        """  # noqa: D205


@dataclass
class Result:
    """A model's answer. What a model does not know stays empty.

    Attributes:
        function: the mining function.
        value: number for a regression; the label (string, the document's text) for a classification; the id of the
            winning cluster or entity for a clustering; None where a model has no such thing.
        probabilities: label → probability, in the document's order.
        confidences: label → confidence.
        affinities: id → affinity (a distance, a similarity or a vote) of each cluster, neighbour or category.
        confidence: of the winner, where the model gives one apart from `confidences`.
        affinity: of the winner.
        entity_id: string; of the node, rule, cluster, neighbour or segment that decided.
        display: label or id → text to show.
        ranked_ids: best first, for an OutputField with a rank.
        ranked_affinities: in the same order.
        reason_codes: best first.
        rules: of an association model.
        values: target → prediction, where a model predicts several fields.
        fields: OutputFields that later models of a chain and the caller may read, by name.
        hidden: names in `fields` that are no final result.
        segments: segment id → its result, for OutputFields with a segmentId.
        active: whether this result exists: missing or false where the segment was not chosen; None where always.
        data_type: of the field whose label `value` is; "" where the scope's target tells.
        scope: of the model.
        listing: of selectAll: the answers of all segments, as a list.
    """

    function: str
    value: Value | None = None
    probabilities: dict[str, Value] = field(default_factory=dict)
    confidences: dict[str, Value] = field(default_factory=dict)
    affinities: dict[str, Value] = field(default_factory=dict)
    confidence: Value | None = None
    affinity: Value | None = None
    entity_id: Value | None = None
    display: dict[str, str] = field(default_factory=dict)
    ranked_ids: list[Value] = field(default_factory=list)
    ranked_affinities: list[Value] = field(default_factory=list)
    reason_codes: list[Value] = field(default_factory=list)
    rules: Rules | None = None
    values: dict[str, Value] = field(default_factory=dict)
    fields: dict[str, Field] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    segments: dict[str, Result] = field(default_factory=dict)
    active: Value | None = None
    data_type: str = ""
    scope: Scope | None = None
    listing: Value | None = None


def classify(graph: Graph, probabilities: dict[str, Value]) -> Value:
    """The label of the first maximum; missing where one of the numbers is."""
    place = graph.apply("argmax", *probabilities.values())
    return graph.apply("pick", place, values=list(probabilities), dtype="string")
