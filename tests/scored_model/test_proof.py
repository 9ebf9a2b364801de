"""Stages held to the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers.model import ImportedModel
from recserve.rates import Rate
from recserve.scored_model import proof
from recserve.scored_model.proof import draw_rows, prove
from recserve.scoring.program import Program, Stages

SIDES = {"age": Rate.REQUEST, "price": Rate.ITEM, "brand": Rate.ITEM}


def test_drawn_rows_have_the_programs_own_constants_and_texts(model: ImportedModel) -> None:
    columns = draw_rows(model.program, np.random.default_rng(0))
    assert {"a", "b", "no such text", None} <= set(columns["brand"])
    assert 30.0 in columns["age"]
    assert {len(cells) for cells in columns.values()} == {proof.ROWS}


def test_stages_answer_as_the_whole(model: ImportedModel) -> None:
    assert prove(model.program, SIDES) < 1e-12


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("score", "in stages, output 'score' differs by"),
        ("label", "in stages, output 'label' differs from"),
        (None, "in stages, the rows that fail differ from those of the whole model"),
    ],
)
def test_a_stage_that_errs_is_found(
    model: ImportedModel, monkeypatch: pytest.MonkeyPatch, output: str | None, message: str
) -> None:
    split, run = Program.split, Program.run

    def wrong_split(self: Program, *args: Any, **options: Any) -> Stages:
        stages = split(self, *args, **options)
        candidate = stages.candidate

        def wrong_run(*args: Any, **options: Any) -> Any:
            scores = run(candidate, *args, **options)
            if output is None:
                scores.errors.clear()
            else:
                scores.outputs[output][:] = 1e9 if output == "score" else "other"
            return scores

        monkeypatch.setattr(candidate, "run", wrong_run)
        return stages

    monkeypatch.setattr(Program, "split", wrong_split)
    with pytest.raises(ConfigError, match=message) as caught:
        prove(model.program, SIDES)
    assert caught.value.code == "stages_differ"
