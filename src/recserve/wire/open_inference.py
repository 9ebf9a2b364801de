"""Message classes of the Open Inference Protocol."""

from __future__ import annotations

from typing import Any, Final

from recserve.wire.pool import enum_numbers, message_class

SERVICE: Final = "inference.GRPCInferenceService"

ModelInferRequest: Final[Any] = message_class("inference.ModelInferRequest")
ModelInferResponse: Final[Any] = message_class("inference.ModelInferResponse")
InferTensorContents: Final[Any] = message_class("inference.InferTensorContents")
ModelConfig: Final[Any] = message_class("inference.ModelConfig")
CONFIG_DATA_TYPES: Final[dict[str, int]] = enum_numbers("inference.DataType")
