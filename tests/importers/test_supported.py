"""The page of formats."""

from __future__ import annotations

from pathlib import Path

from recserve.importers.formats import READERS
from recserve.importers.supported import PAGE, page, supported

ROOT = Path(__file__).resolve().parent.parent.parent


def test_every_reader_tells_what_it_knows() -> None:
    found = supported()
    assert list(found) == list(READERS)
    assert all(names for kinds in found.values() for names in kinds.values())
    assert "TreeModel" in found["pmml"]["Model elements"]
    assert "gbm" in found["mojo"]["Algorithms"]


def test_the_page_is_what_the_importers_know() -> None:
    write = (
        f"write it: python -c \"from recserve.importers.supported import *; open(PAGE, 'w').write(page())\" ({PAGE})"
    )
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(), write
