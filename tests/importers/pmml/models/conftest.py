"""What the tests of model elements share: a document around one model, scored by both engines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from recserve.importers.pmml import read

Score = Callable[[str, Mapping[str, str], Mapping[str, Sequence[Any]]], dict[str, list[Any]]]


def document(model: str, fields: Mapping[str, str]) -> str:
    """A PMML 4.4 document; a field is declared as its data type and the values it may have: "string a b"."""
    declared = []
    for name, text in fields.items():
        data_type, *values = text.split()
        optype = "continuous" if data_type in ("double", "integer", "float") and not values else "categorical"
        inner = "".join(f'<Value value="{value}"/>' for value in values)
        declared.append(f'<DataField name="{name}" dataType="{data_type}" optype="{optype}">{inner}</DataField>')
    return (
        '<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/>'
        f"<DataDictionary>{''.join(declared)}</DataDictionary>{model}</PMML>"
    )


def plain(value: Any) -> Any:
    """A cell with NaN as None, so that answers compare."""
    return None if isinstance(value, float) and math.isnan(value) else value


def same(one: Any, other: Any) -> bool:
    """Whether two cells are equal, numbers but for rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or abs(one - other) <= 1e-12 * abs(other)
    return bool(one == other)


@pytest.fixture
def score(tmp_path: Path) -> Score:
    """Read a document with one model, score columns with both engines, hold them together: output → cells.

    The row numbers of failed rows are under "errors".
    """

    def run(model: str, fields: Mapping[str, str], columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        path = tmp_path / "model.pmml"
        path.write_text(document(model, fields), encoding="utf-8")
        imported = read(path)
        fast, slow = imported.score(columns), imported.score(columns, reference=True)
        assert fast.errors == slow.errors
        found: dict[str, list[Any]] = {"errors": sorted(fast.errors)}
        for name, values in slow.outputs.items():
            found[name] = [plain(value) for value in list(values)]
            got = [plain(value) for value in list(fast.outputs[name])]
            assert len(got) == len(found[name])
            assert all(same(one, other) for one, other in zip(got, found[name], strict=True)), (name, got, found[name])
        return found

    return run


@pytest.fixture
def schema() -> Callable[..., str]:
    """A `MiningSchema` of inputs, and targets if any; invalid inputs are taken as they are."""

    def make(*inputs: str, targets: Sequence[str] = ()) -> str:
        fields = [f'<MiningField name="{name}" invalidValueTreatment="asIs"/>' for name in inputs]
        fields += [f'<MiningField name="{name}" usageType="target"/>' for name in targets]
        return f"<MiningSchema>{''.join(fields)}</MiningSchema>"

    return make
