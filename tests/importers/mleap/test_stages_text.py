"""MLeap's ops on texts, and on tables of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_files import Node, listed, scalar, score, tensor

TEXT_CASES: dict[str, tuple[list[Any], Any]] = {
    "counts": (
        [
            Node("tokenizer", {"input": "t"}, {"output": "w"}),
            Node(
                "count_vectorizer",
                {"input": "w"},
                {"output": "c"},
                vocabulary=listed("string", ["red", "toy"]),
                binary={},
                min_tf={},
            ),
            Node("idf", {"input": "c"}, {"output": "o"}, idf=tensor([0.5, 3.0])),
        ],
        [[1.0, 0.0], [0.0, 3.0]],
    ),
    "regular expressions, stop words and pairs": (
        [
            Node(
                "regex_tokenizer",
                {"input": "t"},
                {"output": "w"},
                regex=scalar("string", r"\W+"),
                match_gaps=scalar("boolean", True),
                token_min_length=scalar("int", 1),
                lowercase_text=scalar("boolean", True),
            ),
            Node(
                "stopwords_remover",
                {"input": "w"},
                {"output": "s"},
                stop_words=listed("string", ["a"]),
                case_sensitive={},
            ),
            Node("ngram", {"input": "s"}, {"output": "g"}, n=scalar("long", 2)),
            Node(
                "count_vectorizer",
                {"input": "g"},
                {"output": "o"},
                vocabulary=listed("string", ["red red"]),
                binary=scalar("boolean", True),
                min_tf={},
            ),
        ],
        [[1.0], [0.0]],
    ),
    "vectors of words": (
        [
            Node("tokenizer", {"input": "t"}, {"output": "w"}),
            Node("word_filter", {"input": "w"}, {"output": "f"}, length=scalar("int", 1)),
            Node(
                "word_to_vector",
                {"input": "f"},
                {"output": "o"},
                words=listed("string", ["toy", "red"]),
                indices=listed("long", [1, 0]),
                word_vectors=listed("double", [1.0, 2.0, 5.0, 6.0]),
            ),
        ],
        [[1.0, 2.0], [5.0, 6.0]],
    ),
    "hashes": (
        [
            Node("tokenizer", {"input": "t"}, {"output": "w"}),
            Node(
                "hashing_term_frequency",
                {"input": "w"},
                {"output": "o"},
                num_features=scalar("long", 1),
                binary={},
                hashUnsafeBytesVersion=scalar("int", 2),
            ),
        ],
        [[2.0], [2.0]],
    ),
    "hashed columns": (
        [
            Node(
                "feature_hasher",
                {"input0": "x", "input1": "t"},
                {"output": "o"},
                num_features=scalar("long", 1),
                input_names=listed("string", ["x", "t"]),
                categorical_cols=listed("string", []),
                basic_types=listed("basic_type", ["double", "string"]),
            ),
        ],
        [[6.0], [7.0]],
    ),
    "indices and labels": (
        [
            Node("string_indexer", {"input": "t"}, {"output": "i"}, labels=listed("string", ["Red red", "a toy"])),
            Node("reverse_string_indexer", {"input": "i"}, {"output": "o"}, labels=listed("string", ["one", "two"])),
        ],
        ["one", "two"],
    ),
    "tables": (
        [
            Node(
                "string_map",
                {"input": "t"},
                {"output": "o"},
                labels=listed("string", ["Red red"]),
                values=listed("double", [4.0]),
                handle_invalid=scalar("string", "keep"),
                default_value=scalar("double", -1.0),
            )
        ],
        [4.0, -1.0],
    ),
    "patterns": (
        [
            Node(
                "regex_indexer",
                {"input": "t"},
                {"output": "o"},
                regexes=listed("string", ["to."]),
                indices=listed("int", [3]),
                default_value=scalar("int", 9),
            )
        ],
        [9.0, 3.0],
    ),
}


@pytest.mark.parametrize("name", TEXT_CASES)
def test_texts_follow_their_rules(name: str, tmp_path: Path) -> None:
    nodes, want = TEXT_CASES[name]
    scores = score(
        tmp_path, {f"n{i}": node for i, node in enumerate(nodes)}, "json", {"t": ["Red red", "a toy"], "x": [5.0, 6.0]}
    )
    assert scores.errors == {}
    assert np.array(scores.outputs["o"]).tolist() == want
