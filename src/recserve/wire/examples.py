"""tf.Example ↔ features: name → list of integers, of floats or of bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recserve.errors import RequestError
from recserve.wire.pool import Message
from recserve.wire.tensorflow_serving import Example, Input

Features = dict[str, list[Any]]


def read_examples(content: Message) -> list[Features]:
    """The examples of an `Input`; a feature of the context holds for every example that lacks it.

    A feature without a kind counts as missing.

    Raises:
        RequestError: there is no example.
    """
    kind = content.WhichOneof("kind")
    examples = getattr(content, kind).examples if kind else ()
    if not len(examples):
        raise RequestError("Input is empty.", code="empty_input")
    context = _features(content.example_list_with_context.context) if kind == "example_list_with_context" else {}
    return [{**context, **_features(example)} for example in examples]


def _features(example: Message) -> Features:
    found: Features = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        if kind is not None:
            found[name] = list(getattr(feature, kind).value)
    return found


def write_examples(examples: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None) -> Message:
    """An `Input` of examples: integers and truths, numbers, or texts and bytes; single values or lists of them.

    Raises:
        RequestError: a feature has values of several types, or of no such type.
    """
    written = [_example(example) for example in examples]
    content = Input()
    if context is None:
        content.example_list.SetInParent()
        content.example_list.examples.extend(written)
    else:
        content.example_list_with_context.examples.extend(written)
        content.example_list_with_context.context.CopyFrom(_example(context))
    return content


def _example(features: Mapping[str, Any]) -> Message:
    example = Example()
    for name, value in features.items():
        values = np.asarray(value).ravel().tolist() if isinstance(value, np.ndarray) else value
        values = list(values) if isinstance(values, list | tuple) else [values]
        feature = example.features.feature[name]
        if all(isinstance(v, int | np.integer) for v in values):
            feature.int64_list.value.extend(map(int, values))
        elif all(isinstance(v, int | float | np.number) for v in values):
            feature.float_list.value.extend(map(float, values))
        elif all(isinstance(v, str | bytes) for v in values):
            feature.bytes_list.value.extend(v.encode() if isinstance(v, str) else v for v in values)
        else:
            kinds = ", ".join(sorted({type(v).__name__ for v in values}))
            raise RequestError(
                f"feature {name!r} has values of the types {kinds}",
                code="invalid_data",
                hint="Give integers, numbers or texts.",
            )
    return example
