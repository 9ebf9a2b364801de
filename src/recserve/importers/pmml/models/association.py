"""AssociationModel: which items a row holds, and which rules that makes.

A row holds items either as one field an item (true or `T`), as fields that equal a category, or, where the schema has a
group field, as a list of items in one field, which recserve does not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recserve.importers.pmml.results import Result
from recserve.importers.pmml.scope import Typed

if TYPE_CHECKING:
    from recserve.importers.pmml.document import Element
    from recserve.importers.pmml.scope import Scope
    from recserve.scoring.graph import Graph, Value

NUMBERS = ("confidence", "support", "lift", "leverage", "affinity")
SIDES = ("antecedent", "consequent")


def lower(model: Element, scope: Scope) -> Result:
    """Lower an `AssociationModel`.

    Raises:
        ConfigError: a rule names an item set, or a set an item, that there is none of; "unsupported_element" for a
            schema with a group field.
    """
    model.choice("functionName", ("associationRules",))
    for field in model.need_child("MiningSchema").all("MiningField"):
        if field.get("usageType") == "group":
            raise field.unsupported("groups rows into transactions", "A row holds one transaction, a field an item")
    graph = scope.graph
    items = {item.need("id"): item for item in model.all("Item")}
    held = {id_: _holds(item, scope) for id_, item in items.items()}
    sets = {one.need("id"): _item_ids(one, items) for one in model.all("Itemset")}
    checked = _checked(list(held.values()), graph)
    whole = {id_: graph.apply("and", checked, *(held[item] for item in ids)) for id_, ids in sets.items()}
    rules = model.all("AssociationRule")
    for rule in rules:
        for side in ("antecedent", "consequent"):
            if rule.need(side) not in sets:
                raise rule.invalid(f"names the item set {rule.need(side)!r}, which there is none of")
    labels = {id_: [items[item].need("value") for item in ids] for id_, ids in sets.items()}
    return Result("associationRules", rules=RuleList(tuple(rules), _fires(rules, whole, graph), labels))


@dataclass(frozen=True)
class RuleList:
    """Association rules that may fire.

    Attributes:
        elements: the rules, in the document's order.
        fires: algorithm → whether each rule is one of its.
        labels: item set → the values of its items.
    """

    elements: tuple[Element, ...]
    fires: dict[str, list[Value]]
    labels: dict[str, list[str]]

    def lower(self, feature: str, element: Element, scope: Scope) -> Typed:
        """The feature of the rules that fire, in the order of their ranks: one, or a list of them.

        Raises:
            ConfigError: a rule lacks the number that the ranks go by, or the rank is none.
        """
        graph = scope.graph
        algorithm = element.choice("algorithm", tuple(self.fires), "exclusiveRecommendation")
        order = self._order(element)
        fires = [self.fires[algorithm][i] for i in order]
        rules = [self.elements[i] for i in order]
        rank = element.integer("rank", 1)
        if element.choice("isMultiValued", ("0", "1"), "0") == "1":
            if rank < 0:
                raise element.invalid(f"the rank is {rank}", "0 gives all rules, a number above it so many")
            if 0 < rank < len(rules):
                fires = _first(rank, fires, graph)
            return self._many(feature, order, fires, graph)
        if rank < 1:
            raise element.invalid(f"the rank is {rank}", "Ranks count from 1; isMultiValued gives several")
        place = graph.apply("nth_true", *fires, nth=rank) if fires else graph.missing("number")
        if feature in SIDES:
            return Typed(self._items_at(place, [self.labels[rule.need(feature)] for rule in rules], graph), "string")
        values = [self._value(feature, rule, i) for rule, i in zip(rules, order, strict=True)]
        dtype = "number" if feature in NUMBERS else "string"
        return Typed(
            graph.apply("pick", place, values=values, dtype=dtype), "double" if dtype == "number" else "string"
        )

    def _order(self, element: Element) -> list[int]:
        """Numbers of the rules by what the ranks go by, those with equal numbers in the document's order."""
        basis = element.choice("rankBasis", NUMBERS, "confidence")
        sign = -1.0 if element.choice("rankOrder", ("descending", "ascending"), "descending") == "descending" else 1.0
        keys = [sign * rule.need_number(basis) for rule in self.elements]
        return sorted(range(len(keys)), key=keys.__getitem__)

    def _value(self, feature: str, rule: Element, number: int) -> float | str | None:
        if feature == "ruleId":
            return rule.get("id") or str(number + 1)
        if feature == "rule":
            left, right = (",".join(self.labels[rule.need(side)]) for side in SIDES)
            return f"{{{left}}}->{{{right}}}"
        return rule.number_or_none(feature)

    def _many(self, feature: str, order: list[int], fires: list[Value], graph: Graph) -> Typed:
        """A list of the features of the rules that fire."""
        if not order:
            return Typed(graph.missing("object"), "string")
        parts = []
        for number, one in zip(order, fires, strict=True):
            rule = self.elements[number]
            if feature in SIDES:
                items = graph.apply("make_list", *(graph.constant(item) for item in self.labels[rule.need(feature)]))
                parts.append(graph.apply("select", one, items, graph.missing("object")))
                continue
            value = self._value(feature, rule, number)
            known = graph.missing("number") if value is None else graph.constant(value)
            parts.append(graph.apply("mark_missing", known, graph.apply("not", one)))
        return Typed(graph.apply("make_list", *parts), "string")

    def _items_at(self, place: Value, items: list[list[str]], graph: Graph) -> Value:
        """The list of items of the rule at a place; missing where there is none."""
        width = max((len(one) for one in items), default=0)
        columns = [[one[i] if i < len(one) else None for one in items] for i in range(width)]
        parts = [graph.apply("pick", place, values=column, dtype="string") for column in columns]
        found = graph.apply("make_list", *parts) if parts else graph.missing("object")
        return graph.apply("select", graph.apply("is_known", place), found, graph.missing("object"))


def _first(count: int, fires: list[Value], graph: Graph) -> list[Value]:
    """The same booleans, with those behind the `count`-th true one made false."""
    last = graph.apply("nth_true", *fires, nth=count)
    last = graph.apply("replace_missing", last, float(len(fires)))
    return [
        graph.apply("and", one, graph.apply("less_equal", graph.constant(float(i)), last))
        for i, one in enumerate(fires)
    ]


def _holds(item: Element, scope: Scope) -> Value:
    """Whether a row holds an item; never missing."""
    graph = scope.graph
    name, category = _field_and_category(item, scope)
    field = scope.field(name, item)
    if category is not None:
        holds = scope.equals(field, category, item)
    else:
        holds = scope.convert(field, "boolean").value
        if field.data_type == "string":
            letter = graph.apply("lookup", field.value, keys=[["T"], ["F"]], values=[True, False], dtype="boolean")
            holds = graph.apply("coalesce", letter, holds)
    return graph.apply("replace_missing", holds, graph.constant(False))


def _checked(held: list[Value], graph: Graph) -> Value:
    """True; a failure where one of the items is, whether or not a rule needs it."""
    if not held:
        return graph.constant(True)
    count = graph.apply("sum", *(graph.apply("boolean_to_number", one) for one in held))
    return graph.apply("greater_equal", count, 0.0)


def _field_and_category(item: Element, scope: Scope) -> tuple[str, str | None]:
    """The field that an item is read from, and the category it stands for; None where the field is true or false."""
    named = item.get("field")
    if named is not None:
        return named, item.need("category")
    value = item.need("value")
    if scope.sees(value):
        return value, None
    name, equals, category = value.partition("=")
    if equals and scope.sees(name):
        return name, category
    raise item.invalid(f"stands for {value!r}, which is neither a field nor field=category")


def _item_ids(itemset: Element, items: dict[str, Element]) -> list[str]:
    ids = [ref.need("itemRef") for ref in itemset.all("ItemRef")]
    for ref, id_ in zip(itemset.all("ItemRef"), ids, strict=True):
        if id_ not in items:
            raise ref.invalid(f"names the item {id_!r}, which there is none of")
    return ids


def _fires(rules: list[Element], whole: dict[str, Value], graph: Graph) -> dict[str, list[Value]]:
    """Algorithm → whether each rule is one of its."""
    fires: dict[str, list[Value]] = {"recommendation": [], "exclusiveRecommendation": [], "ruleAssociation": []}
    for rule in rules:
        before, after = whole[rule.need("antecedent")], whole[rule.need("consequent")]
        fires["recommendation"].append(before)
        fires["exclusiveRecommendation"].append(graph.apply("and", before, graph.apply("not", after)))
        fires["ruleAssociation"].append(graph.apply("and", before, after))
    return fires
