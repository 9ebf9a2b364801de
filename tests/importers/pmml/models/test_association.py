"""AssociationModel: which rules fire for a row, and what of them goes out."""

from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError

FIELDS = {"tea": "string", "cake": "boolean", "size": "string S L", "count": "integer"}
MODEL = """<AssociationModel functionName="associationRules" numberOfTransactions="5" minimumSupport="0.1"
    minimumConfidence="0.1" numberOfItems="4" numberOfItemsets="4" numberOfRules="4">{schema}<Output>{output}</Output>
  <Item id="1" value="tea"/><Item id="2" value="cake"/><Item id="3" value="size=L"/>
  <Item id="4" value="small" field="size" category="S"/><Item id="5" value="count"/>
  <Itemset id="t"><ItemRef itemRef="1"/></Itemset><Itemset id="c"><ItemRef itemRef="2"/></Itemset>
  <Itemset id="tl"><ItemRef itemRef="1"/><ItemRef itemRef="3"/></Itemset>
  <Itemset id="s"><ItemRef itemRef="4"/></Itemset><Itemset id="n"><ItemRef itemRef="5"/></Itemset>
  <AssociationRule id="R" antecedent="t" consequent="c" support="0.5" confidence="0.75" lift="1.5"/>
  <AssociationRule antecedent="tl" consequent="c" support="0.25" confidence="0.9" lift="1.2"/>
  <AssociationRule antecedent="s" consequent="t" support="0.4" confidence="0.75" lift="1.1"/>
  <AssociationRule antecedent="c" consequent="tl" support="0.1" confidence="0.3" lift="2" affinity="0.5"/>
</AssociationModel>"""
ROWS: dict[str, list[Any]] = {
    "tea": ["T", "T", "F", None, "T"],
    "cake": ["true", "false", "true", None, "false"],
    "size": ["L", "S", "S", None, "L"],
    "count": [1, 0, 0, None, 0],
}


def model(schema: Any, *fields: str) -> str:
    output = "".join(f'<OutputField name="f{i}" {text}/>' for i, text in enumerate(fields))
    return MODEL.format(schema=schema("tea", "cake", "size", "count"), output=output)


@pytest.mark.parametrize(
    ("algorithm", "want"),
    [
        ("recommendation", [["2", "R", "4"], ["R", "3"], ["3", "4"], [], ["2", "R"]]),
        ("exclusiveRecommendation", [[], ["R"], ["3", "4"], [], ["2", "R"]]),
        ("ruleAssociation", [["2", "R", "4"], ["3"], [], [], []]),
    ],
)
def test_rules_fire_by_the_algorithm_and_rank_by_confidence(
    algorithm: str, want: list[list[str]], score: Any, schema: Any
) -> None:
    every = f'feature="ruleValue" ruleFeature="ruleId" algorithm="{algorithm}" rank="0" isMultiValued="1"'
    two = every.replace('rank="0"', 'rank="2"')
    single = f'feature="ruleValue" ruleFeature="ruleId" algorithm="{algorithm}" rank="2"'
    found = score(model(schema, every, two, single), FIELDS, ROWS)
    assert found["f0"] == want
    assert found["f1"] == [ids[:2] for ids in want]
    assert found["f2"] == [ids[1] if len(ids) > 1 else None for ids in want]


def test_ranks_go_by_the_basis_and_the_order_that_the_field_names(score: Any, schema: Any) -> None:
    base = 'feature="ruleValue" ruleFeature="ruleId" algorithm="recommendation" rank="0" isMultiValued="1"'
    found = score(
        model(schema, f'{base} rankBasis="lift"', f'{base} rankBasis="support" rankOrder="ascending"'), FIELDS, ROWS
    )
    assert found["f0"][0] == ["4", "R", "2"]
    assert found["f1"][0] == ["4", "2", "R"]


def test_every_feature_of_a_rule_may_go_out(score: Any, schema: Any) -> None:
    base = 'feature="ruleValue" algorithm="recommendation" rank="1" ruleFeature='
    names = ("antecedent", "consequent", "rule", "confidence", "support", "lift", "affinity")
    fields = [f'{base}"{name}"' for name in names]
    found = score(model(schema, *fields, 'feature="support" algorithm="recommendation"'), FIELDS, ROWS)
    first = [found[f"f{i}"][0] for i in range(8)]
    assert first == [["tea", "size=L"], ["cake"], "{tea,size=L}->{cake}", 0.9, 0.25, 1.2, None, 0.25]
    assert found["f0"][3] is None


def test_lists_of_item_sets_may_go_out(score: Any, schema: Any) -> None:
    field = 'feature="antecedent" algorithm="recommendation" rank="0" isMultiValued="1"'
    found = score(model(schema, field), FIELDS, ROWS)
    assert [list(items) for items in found["f0"][0]] == [["tea", "size=L"], ["tea"], ["cake"]]


def test_true_and_false_may_be_written_in_full_or_as_numbers(score: Any, schema: Any) -> None:
    field = 'feature="ruleValue" ruleFeature="ruleId" algorithm="recommendation"'
    found = score(model(schema, field), FIELDS, {"tea": ["TRUE", "1", "false", "0", "F", "T", "maybe"]})
    assert found["f0"] == ["R", "R", None, None, None, "R", None]
    assert found["errors"] == [6]


def test_a_cell_that_is_neither_true_nor_false_fails_its_row(score: Any, schema: Any) -> None:
    field = 'feature="ruleValue" ruleFeature="ruleId" algorithm="recommendation"'
    found = score(model(schema, field), FIELDS, {**ROWS, "count": [7, 0, 0, None, 1]})
    assert found["errors"] == [0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('consequent="tl"', 'consequent="zz"', "names the item set 'zz'"),
        ('itemRef="4"', 'itemRef="9"', "names the item '9'"),
        ('value="size=L"', 'value="height=L"', "neither a field nor field=category"),
        ('category="S"', "", "needs the attribute 'category'"),
        ('rank="1"', 'rank="0"', "the rank is 0"),
        ('name="tea" ', 'name="tea" usageType="group" ', "groups rows into transactions"),
        ('rank="1"', 'rankBasis="leverage"', "needs the attribute 'leverage'"),
        ('rank="1"', 'rank="-1" isMultiValued="1"', "the rank is -1"),
    ],
)
def test_a_broken_model_is_refused_with_its_place(old: str, new: str, message: str, score: Any, schema: Any) -> None:
    text = model(schema, 'feature="ruleValue" ruleFeature="ruleId" algorithm="recommendation" rank="1"')
    with pytest.raises(ConfigError, match=r"model\.pmml:") as error:
        score(text.replace(old, new, 1), FIELDS, ROWS)
    assert message in str(error.value)
