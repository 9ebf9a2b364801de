"""The schemas of OpenAPI documents."""

from __future__ import annotations

from typing import Any, Final

_Schema = dict[str, Any]


def _object(required: tuple[str, ...] = (), *, is_open: bool = True, **properties: _Schema) -> _Schema:
    schema: _Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    return schema if is_open else {**schema, "additionalProperties": False}


def _list(items: _Schema | None = None, **more: Any) -> _Schema:
    return {"type": "array", "items": items or {}, **more}


_ID: Final[_Schema] = {"type": ["string", "integer"]}
_IDS: Final = _list(_ID)
_TEXT: Final[_Schema] = {"type": "string"}
_FLAG: Final[_Schema] = {"type": "boolean", "default": False}
_COLUMNS: Final[_Schema] = {"type": "object", "description": "Column → value"}
_NUMBERS: Final = _list({"type": ["number", "null"]})
_TENSOR: Final = _object(
    ("name", "datatype", "shape"),
    name=_TEXT,
    datatype=_TEXT,
    shape=_list({"type": "integer"}),
    parameters={"type": "object"},
    data=_list(),
)
_RANK_FIELDS: Final[dict[str, _Schema]] = {
    "user": {**_COLUMNS, "default": {}},
    "user_id": {**_ID, "description": "Takes the columns of a kept user; those of `user` go before them"},
    "context": {"type": ["object", "null"], "description": "Context column → value"},
    "candidates": {
        "description": "Ids, columns with `item_id`, or objects with `item_id`",
        "oneOf": [
            _list(_ID, minItems=1),
            _object(("item_id",), item_id=_IDS),
            _list(_object(("item_id",), item_id=_ID), minItems=1),
        ],
    },
    "top_k": {"type": ["integer", "null"], "minimum": 1},
    "items": {"type": ["object", "null"], "additionalProperties": _COLUMNS},
    "request_id": {"type": ["string", "null"], "minLength": 1, "maxLength": 256},
    "format": {"enum": ["columns", "rows", None], "default": "columns"},
    "timings": _FLAG,
    "explain": {**_FLAG, "description": "Tell the features of the best candidates as text, and the stage times"},
}
_VERSION: Final = _object(
    ("name", "version", "table_epoch", "item_epoch"),
    name=_TEXT,
    version={"type": "integer"},
    table_epoch={"type": "integer"},
    item_epoch={"type": "integer"},
)

SCHEMAS: Final[dict[str, _Schema]] = {
    "Object": {"type": "object"},
    "Array": _list(),
    "Error": _object(
        error={
            "description": "Text, or of recserve's own routes an object",
            "oneOf": [_TEXT, _object(("code", "message"), code=_TEXT, message=_TEXT)],
        }
    ),
    "RankRequest": _object(("candidates",), is_open=False, **_RANK_FIELDS),
    "MultiRankRequest": _object(
        ("candidates", "models"),
        is_open=False,
        models=_list(
            {
                "oneOf": [
                    _TEXT,
                    _object(("name",), is_open=False, name=_TEXT, version={"type": "integer"}, label=_TEXT),
                ]
            },
            minItems=1,
        ),
        **_RANK_FIELDS,
    ),
    "RankAnswer": _object(
        ("model", "request_id", "unknown_items", "missing_columns"),
        model=_VERSION,
        request_id=_TEXT,
        item_ids=_IDS,
        scores=_NUMBERS,
        outputs={"type": "object", "additionalProperties": _NUMBERS},
        items=_list(_object(("item_id", "score"), item_id=_ID, score={"type": ["number", "null"]})),
        unknown_items=_IDS,
        missing_columns=_list(_TEXT),
        user_found={"type": "boolean"},
        timings_us={"type": "object", "additionalProperties": {"type": "number"}},
        explanations={"type": "array", "items": _object(("item_id", "lines"), item_id=_ID, lines=_list(_TEXT))},
    ),
    "MultiRankAnswer": _object(("answers",), answers=_list({"$ref": "#/components/schemas/RankAnswer"})),
    "UsersRequest": _object(("users",), users={"type": "object", "additionalProperties": _COLUMNS}),
    "PredictRequest": _object(signature_name=_TEXT, instances=_list(), inputs={}),
    "ClassifyRequest": _object(
        ("examples",), signature_name=_TEXT, context={"type": "object"}, examples=_list({"type": "object"})
    ),
    "RegressRequest": _object(
        ("examples",), signature_name=_TEXT, context={"type": "object"}, examples=_list({"type": "object"})
    ),
    "Predictions": _object(("predictions",), predictions={}),
    "InferRequest": _object(
        ("inputs",), id=_TEXT, parameters={"type": "object"}, inputs=_list(_TENSOR), outputs=_list({"type": "object"})
    ),
    "InferAnswer": _object(
        ("model_name", "outputs"), model_name=_TEXT, model_version=_TEXT, id=_TEXT, outputs=_list(_TENSOR)
    ),
    "ScoreRequest": _object(("fields", "rows"), fields=_list(_TEXT), rows=_list(_list({"type": ["string", "null"]}))),
    "ScoreAnswer": _object(("score",), id=_TEXT, fields=_list(_TEXT), score=_list(_list(_TEXT))),
    "LoadRequest": _object(("model_name", "url"), model_name=_TEXT, url=_TEXT),
    "MlflowRequest": _object(
        dataframe_split={"type": "object"},
        dataframe_records=_list({"type": "object"}),
        instances={},
        inputs={},
        params={"type": "object"},
    ),
}
