"""In which precision each part of a model serves, and which ones are worth trying where nobody said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from recserve.errors import ConfigError, suggest
from recserve.network.engines import PRECISIONS as NETWORK_PRECISIONS
from recserve.network.engines import check_word
from recserve.rows.formats import check_precision, table_row_bytes
from recserve.staging.cuts import Cuts
from recserve.staging.quality import Quality
from recserve.tables.table import Table

AUTO: Final = "auto"
"""The cheapest precision that passes the gate."""
EVERY_OTHER: Final = "*"
"""The tables that a mapping does not name."""
PARTS: Final = ("tables", "payload", "network")
"""In the order in which `auto` is settled."""
_ROWS_TRIED: Final = ("int8", "bf16", "fp16")
"""bf16 before fp16, which takes as much: it widens in one instruction, and nothing overflows in it."""


@dataclass(frozen=True)
class Precision:
    """In which precision a model serves; anything but fp32 has to pass a quality gate.

    Attributes:
        network: of `network.engines.PRECISIONS`, or "auto": in which the candidate part computes.
        payload: of `rows.formats.PRECISIONS`, or "auto": in which the tensors of an item are stored.
        tables: of the same, or "auto": in which table rows are stored; or a word for each table by name, with `*` for
            those that are not named, which else stay as they are given.

    Raises:
        ConfigError: an unknown word.
    """

    network: str = "fp32"
    payload: str = "fp32"
    tables: str | Mapping[str, str] = "fp32"

    def __post_init__(self) -> None:
        check_word("precision", self.network, (*NETWORK_PRECISIONS, AUTO))
        check_precision(self.payload, "payload", AUTO)
        if isinstance(self.tables, str):
            check_precision(self.tables, "tables", AUTO)
            return
        for name, word in self.tables.items():
            check_precision(word, f"table {name!r}")

    @classmethod
    def parse_tables(cls, text: str) -> str | dict[str, str]:
        """`tables` from text: a word, or `NAME=WORD,...`, such as `user_emb=fp16,*=int8`.

        Raises:
            ConfigError: an entry of another form.
        """
        if "=" not in text:
            return text
        words: dict[str, str] = {}
        for entry in text.split(","):
            name, equals, word = entry.strip().rpartition("=")
            if not equals or not name:
                raise ConfigError(
                    f"{entry!r} is not TABLE=PRECISION", where="tables", hint="Such as item_emb=int8,*=bf16"
                )
            words[name] = word
        return words

    @property
    def is_exact(self) -> bool:
        """All is float32, or as it was given."""
        return not self.as_dict()

    def as_dict(self) -> dict[str, str]:
        """What is not fp32, by part; tables with words of their own as `tables.<name>`."""
        words = {"network": self.network, "payload": self.payload}
        if isinstance(self.tables, str):
            words["tables"] = self.tables
        else:
            words |= {"tables" if n == EVERY_OTHER else f"tables.{n}": word for n, word in self.tables.items()}
        return {part: word for part, word in words.items() if word != "fp32"}

    def table_word(self, name: str) -> str:
        """Of one table."""
        if isinstance(self.tables, str):
            return self.tables
        return self.tables.get(name, self.tables.get(EVERY_OTHER, "fp32"))

    def check_tables(self, tables: Mapping[str, Table]) -> None:
        """Refuse a name that is no table's.

        Raises:
            ConfigError: with the nearest name.
        """
        words = {} if isinstance(self.tables, str) else self.tables
        for name, word in words.items():
            if name != EVERY_OTHER and name not in tables:
                raise ConfigError(
                    f"there is no table {name!r} to store in {word}",
                    code="unknown_table",
                    where="precision",
                    hint=suggest(name, tables) or f"Tables: {', '.join(sorted(tables)) or 'none'}",
                )


@dataclass(frozen=True)
class Trial:
    """One precision that was tried.

    Attributes:
        precision: of every part.
        quality: as measured; None where it could not be built.
        problem: why it was not taken; empty where it was.
        left_out: tensors of an int8 network whose products stayed floating-point, for what they cost in quality.
    """

    precision: Precision
    quality: Quality | None
    problem: str
    left_out: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For the manifest, as plain JSON values."""
        found: dict[str, Any] = {"precision": self.precision.as_dict(), "problem": self.problem}
        if self.left_out:
            found["left_out"] = list(self.left_out)
        return found if self.quality is None else found | {"quality": self.quality.as_dict()}


def words_to_try(part: str, tables: Mapping[str, Table], cuts: Cuts) -> list[str]:
    """Precisions of a part, cheapest first, that are worth a trial; fp32, which needs none, is not among them.

    Of rows only those that take fewer bytes than all nearer to fp32.
    """
    if part == "network":
        return list(NETWORK_PRECISIONS[:0:-1])

    def size_in(word: str) -> int:
        return cuts.stored_in(word).item_bytes if part == "payload" else _table_bytes(tables, word)

    sizes = {word: size_in(word) for word in ("fp32", *_ROWS_TRIED)}
    halves = [word for word in _ROWS_TRIED[1:] if sizes[word] < sizes["fp32"]]
    return (["int8"] if sizes["int8"] < min(sizes["fp32"], sizes["bf16"]) else []) + halves


def _table_bytes(tables: Mapping[str, Table], word: str) -> int:
    """Bytes of the rows of the tables that can be stored in a precision."""
    shapes = [(table.dim, len(table)) for table in tables.values() if table.precision == "fp32"]
    return sum(min(table_row_bytes(word, dim), table_row_bytes("fp32", dim)) * rows for dim, rows in shapes)


def narrow_table(table: Table, word: str) -> Table:
    """A table in a precision; one that was given narrower than fp32 already stays as it is.

    Raises:
        ConfigError: a number is too large for it; names table and row.
    """
    return table.stored_as(word) if word != "fp32" and table.precision == "fp32" else table
