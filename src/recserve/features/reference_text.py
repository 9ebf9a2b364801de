"""Operations on text as plain Python: normalisation, tokenizers, regular expressions, distances.

Tokenizer files are those of Hugging Face `tokenizers` (tokenizer.json) and of SentencePiece; the two libraries are
imported where a feature needs one.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from recserve.errors import ConfigError, DataError
from recserve.features.op import MAX_COMPARISONS
from recserve.features.vocabularies import digest, read_asset

DEFAULT_STOPS: Final = "".join(
    chr(code)
    for code in (*range(0x21, 0x7F), *range(0x3000, 0x3030), *range(0xFF01, 0xFF66), *range(0x2010, 0x2028))
    if unicodedata.category(chr(code))[0] in "PS"
)
"""Characters that "filter" drops unless the config names a stop_char_file: punctuation and symbols."""


class Tokenizer(Protocol):
    """A loaded tokenizer."""

    size: int

    def encode(self, text: str) -> list[int]:
        """Ids of the pieces of a text."""


class _HuggingFace:
    def __init__(self, content: bytes) -> None:
        from tokenizers import Tokenizer as Loaded

        self._loaded = Loaded.from_str(content.decode("utf-8"))
        self.size = int(self._loaded.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        return list(self._loaded.encode(text, add_special_tokens=False).ids)


class _SentencePiece:
    def __init__(self, content: bytes) -> None:
        from sentencepiece import SentencePieceProcessor

        self._loaded = SentencePieceProcessor(model_proto=content)
        self.size = int(self._loaded.vocab_size())

    def encode(self, text: str) -> list[int]:
        return list(self._loaded.encode(text))


@functools.lru_cache(maxsize=16)
def load_tokenizer(model: str, file: str, sha256: str) -> Tokenizer:
    """The tokenizer in a file.

    Args:
        model: "bpe" or "sentencepiece".
        file: path.
        sha256: of its content.

    Raises:
        ConfigError: the file is not there, has changed or is no such tokenizer, or the library is not installed.
    """
    content = read_asset(Path(file))
    if digest(content) != sha256:
        raise ConfigError(f"tokenizer file {file!r} has changed")
    try:
        return _HuggingFace(content) if model == "bpe" else _SentencePiece(content)
    except ImportError as error:
        raise ConfigError(f"tokenizer_type {model!r} needs a library: {error}") from None
    except Exception as error:  # both libraries raise bare exceptions for a bad file
        raise ConfigError(f"{file!r} is no {model} tokenizer: {error}") from None


# ---- normalisation


@functools.cache
def load_simplifier() -> Callable[[str], str]:
    """Traditional to simplified Chinese, character by character and phrase by phrase.

    Raises:
        ConfigError: the library is not installed.
    """
    try:
        from opencc import OpenCC  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError(f"text_normalizer option 'TEXT_CHT2CHS' needs a library: {error}") from None
    converter = OpenCC("t2s")
    return lambda text: str(converter.convert(text))


def _width(text: str) -> str:
    return "".join(" " if c == "　" else chr(ord(c) - 0xFEE0) if 0xFF01 <= ord(c) <= 0xFF5E else c for c in text)


def _is_chinese(character: str) -> bool:
    return "㐀" <= character <= "鿿" or "豈" <= character <= "﫿" or character >= "\U00020000"


def _split_chinese(text: str) -> str:
    spaced = "".join(f" {c} " if _is_chinese(c) else c for c in text)
    return " ".join(spaced.split())


def normalize_text(text: str, operations: Sequence[str], stops: str, max_length: int) -> str:
    """A text after `operations` (see ops.NormalizeText)."""
    if max_length and len(text) > max_length:
        return text
    for operation in operations:
        match operation:
            case "width":
                text = _width(text)
            case "upper":
                text = text.upper()
            case "lower":
                text = text.lower()
            case "simplify":
                text = load_simplifier()(text)
            case "filter":
                text = text.translate(dict.fromkeys(map(ord, stops)))
            case "split":
                text = _split_chinese(text)
            case "squeeze":
                text = re.sub(r"\s+", "", text)
    return text


# ---- regular expressions and distances


def replace_regex(
    text: bytes, patterns: Sequence[str], replacement: str, replaces_all: bool, ignores_case: bool
) -> bytes:
    """A text after each of `patterns` in turn (see ops.RegexReplace)."""
    try:
        array = pa.array([text.decode("utf-8")])
    except UnicodeDecodeError:
        return text
    for pattern in patterns:
        flagged = f"(?i){pattern}" if ignores_case else pattern
        limit = None if replaces_all else 1
        array = pc.replace_substring_regex(array, flagged, replacement, max_replacements=limit)
    return str(array[0].as_py()).encode("utf-8")


def edit_distance(left: Sequence[object], right: Sequence[object]) -> int:
    """Levenshtein distance of two sequences.

    Raises:
        DataError: they are too long.
    """
    if len(left) * len(right) > MAX_COMPARISONS:
        raise DataError(f"more than {MAX_COMPARISONS} comparisons", hint="Give shorter texts")
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
