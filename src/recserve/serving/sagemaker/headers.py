"""Headers of SageMaker requests: custom attributes, content types, what an answer may be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from recserve.errors import RequestError

ATTRIBUTES: Final = "x-amzn-sagemaker-custom-attributes"
TARGET_MODEL: Final = "x-amzn-sagemaker-target-model"
MAX_ATTRIBUTES: Final = 1024
"""Characters of custom attributes."""

_PAIR: Final = re.compile(r"(tfs-[a-z\-]+)=([^,=]+)(?=,|$)")
_VISIBLE: Final = re.compile(r"[\x20-\x7e]*")
_JSON_LIKE: Final = frozenset({"application/json", "application/jsonlines"})
VERBS: Final = ("predict", "classify", "regress")


@dataclass(frozen=True)
class Attributes:
    """What custom attributes say to the TensorFlow Serving container.

    Attributes:
        model: its name, or empty.
        version: None where none is named.
        verb: `predict`, `classify` or `regress`.
    """

    model: str = ""
    version: int | None = None
    verb: str = "predict"


def read_attributes(value: str) -> Attributes:
    """Read `tfs-model-name=M,tfs-model-version=V,tfs-method=predict`; attributes of others are ignored.

    Raises:
        RequestError: the version is no number, or the method unknown.
    """
    pairs = dict(_PAIR.findall(value))
    version = pairs.get("tfs-model-version", "").strip()
    if version and not re.fullmatch("[0-9]{1,18}", version):
        raise RequestError(f"tfs-model-version '{version[:40]}' is no version", where="custom attributes")
    verb = pairs.get("tfs-method", "predict").strip()
    if verb not in VERBS:
        raise RequestError(
            f"tfs-method '{verb[:40]}' is unknown", where="custom attributes", hint=f"It is one of {', '.join(VERBS)}."
        )
    return Attributes(pairs.get("tfs-model-name", "").strip(), int(version) if version else None, verb)


def echo_attributes(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The header that hands custom attributes back; none where they are missing, too long or not visible ASCII."""
    value = headers.get(ATTRIBUTES, "")
    if not value or len(value) > MAX_ATTRIBUTES or not _VISIBLE.fullmatch(value):
        return ()
    return ((ATTRIBUTES, value),)


def media_type(value: str) -> str:
    """The type of a `Content-Type` without its parameters, in small letters."""
    return value.partition(";")[0].strip().lower()


def accepted_types(value: str) -> list[str]:
    """The types that an `Accept` header lists, in its order, without parameters."""
    return [kind for kind in map(media_type, value.split(",")) if kind]


def answer_type(accept: str) -> str:
    """The content type of a JSON answer: the first one accepted, if JSON or JSON lines are accepted at all."""
    kinds = accepted_types(accept)
    return kinds[0] if _JSON_LIKE.intersection(kinds) else "application/json"
