"""Small documents for the tests of the PMML reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recserve.importers import ImportedModel, read

Reader = Callable[..., ImportedModel]
FIELDS = """
<DataField name="x" optype="continuous" dataType="double"/>
<DataField name="k" optype="categorical" dataType="string"/>
<DataField name="y" optype="continuous" dataType="double"/>
"""
SCHEMA = """
<MiningSchema><MiningField name="y" usageType="target"/><MiningField name="x"/><MiningField name="k"/></MiningSchema>
"""


@pytest.fixture
def document(tmp_path: Path) -> Reader:
    """Reads a document of a model, with data fields and a transformation dictionary around it."""

    def build(model: str, fields: str = FIELDS, dictionary: str = "", version: str = "4.4") -> ImportedModel:
        text = (
            f'<PMML xmlns="http://www.dmg.org/PMML-4_4" version="{version}"><Header/>'
            f"<DataDictionary>{fields}</DataDictionary>{dictionary}{model}</PMML>"
        )
        path = tmp_path / "model.pmml"
        path.write_text(text, encoding="utf-8")
        return read(path)

    return build


@pytest.fixture
def regression(document: Reader) -> Reader:
    """A regression that gives back one field, with derived fields, a schema and outputs of the caller's choice."""

    def build(
        derived: str = "", field: str = "x", schema: str = SCHEMA, output: str = "", **others: Any
    ) -> ImportedModel:
        return document(
            f'<RegressionModel functionName="regression">{schema}<Output>{output}</Output>'
            f"<LocalTransformations>{derived}</LocalTransformations><RegressionTable intercept='0'>"
            f'<NumericPredictor name="{field}" coefficient="1"/></RegressionTable></RegressionModel>',
            **others,
        )

    return build
