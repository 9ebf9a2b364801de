"""Codes of texts."""

from __future__ import annotations

from recserve.scoring.pool import Codes


def test_a_call_adds_its_own_texts_behind_those_of_the_program() -> None:
    program = Codes()
    assert [program.code(text) for text in ("a", "b", "a")] == [0, 1, 0]
    call = Codes(program)
    assert [call.code(text) for text in ("b", "new", "new", "newer")] == [1, 2, 2, 3]
    assert [call.text(code) for code in range(len(call))] == ["a", "b", "new", "newer"]
    assert len(program) == 2
    assert program.known == {"a": 0, "b": 1}


def test_each_list_has_a_code_of_its_own() -> None:
    codes = Codes()
    assert [codes.code((1.0,)), codes.code((True,)), codes.code((1.0,))] == [0, 1, 2]
    assert codes.text(1) == (True,)


def test_codes_stand_on_codes_that_grow_on() -> None:
    program, shared = Codes(), Codes()
    program.code("a")
    shared = Codes(program)
    shared.code("b")
    call = Codes(shared)
    shared.code("late")
    assert [call.code(text) for text in ("a", "b", "new", "late", "new")] == [0, 1, 2, 3, 2]
    assert [call.text(code) for code in range(4)] == ["a", "b", "new", "late"]
    assert shared.text(2) == "late"
    assert call.find("other") is None
