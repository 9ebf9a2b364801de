# ruff: noqa: E501  (documents are easier to read in one line)
from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError

Build = Any


def checked(answer: str, precision: str = "1E-6") -> str:
    return (
        '<RegressionModel functionName="regression"><MiningSchema><MiningField name="y" usageType="target"/>'
        '<MiningField name="x"/></MiningSchema><RegressionTable intercept="1"><NumericPredictor name="x" coefficient="2"/>'
        "</RegressionTable><ModelVerification><VerificationFields>"
        f'<VerificationField field="x" column="d:x"/><VerificationField field="y" column="d:y" precision="{precision}"/>'
        f"</VerificationFields><InlineTable><row><x>3</x><y>{answer}</y></row></InlineTable></ModelVerification>"
        "</RegressionModel>"
    )


def test_rows_that_come_out_are_noted(document: Build) -> None:
    assert document(checked("7")).report.notes == ["1 rows of ModelVerification give the document's answers."]
    document(checked("7.1", precision="0.1"))


def test_a_row_that_comes_out_otherwise_refuses_the_model(document: Build) -> None:
    with pytest.raises(ConfigError, match="row 1 of ModelVerification must give '8' for 'y', got 7") as caught:
        document(checked("8"))
    assert caught.value.code == "verification_failed"
