"""Message classes of TensorFlow Serving."""

from __future__ import annotations

from typing import Any, Final

from recserve.wire.pool import enum_numbers, message_class

PREDICTION_SERVICE: Final = "tensorflow.serving.PredictionService"
MODEL_SERVICE: Final = "tensorflow.serving.ModelService"

_PACKAGE: Final = "tensorflow.serving."

ModelSpec: Final[Any] = message_class(_PACKAGE + "ModelSpec")
StatusProto: Final[Any] = message_class(_PACKAGE + "StatusProto")
PredictRequest: Final[Any] = message_class(_PACKAGE + "PredictRequest")
PredictResponse: Final[Any] = message_class(_PACKAGE + "PredictResponse")
Input: Final[Any] = message_class(_PACKAGE + "Input")
ClassificationRequest: Final[Any] = message_class(_PACKAGE + "ClassificationRequest")
ClassificationResponse: Final[Any] = message_class(_PACKAGE + "ClassificationResponse")
ClassificationResult: Final[Any] = message_class(_PACKAGE + "ClassificationResult")
RegressionRequest: Final[Any] = message_class(_PACKAGE + "RegressionRequest")
RegressionResponse: Final[Any] = message_class(_PACKAGE + "RegressionResponse")
RegressionResult: Final[Any] = message_class(_PACKAGE + "RegressionResult")
MultiInferenceRequest: Final[Any] = message_class(_PACKAGE + "MultiInferenceRequest")
MultiInferenceResponse: Final[Any] = message_class(_PACKAGE + "MultiInferenceResponse")
SignatureDefMap: Final[Any] = message_class(_PACKAGE + "SignatureDefMap")
GetModelMetadataRequest: Final[Any] = message_class(_PACKAGE + "GetModelMetadataRequest")
GetModelMetadataResponse: Final[Any] = message_class(_PACKAGE + "GetModelMetadataResponse")
GetModelStatusRequest: Final[Any] = message_class(_PACKAGE + "GetModelStatusRequest")
GetModelStatusResponse: Final[Any] = message_class(_PACKAGE + "GetModelStatusResponse")
ReloadConfigRequest: Final[Any] = message_class(_PACKAGE + "ReloadConfigRequest")
ReloadConfigResponse: Final[Any] = message_class(_PACKAGE + "ReloadConfigResponse")
ModelServerConfig: Final[Any] = message_class(_PACKAGE + "ModelServerConfig")
BatchingParameters: Final[Any] = message_class(_PACKAGE + "BatchingParameters")
MonitoringConfig: Final[Any] = message_class(_PACKAGE + "MonitoringConfig")
SSLConfig: Final[Any] = message_class(_PACKAGE + "SSLConfig")
PredictionLog: Final[Any] = message_class(_PACKAGE + "PredictionLog")
Example: Final[Any] = message_class("tensorflow.Example")
SignatureDef: Final[Any] = message_class("tensorflow.SignatureDef")
TensorProto: Final[Any] = message_class("tensorflow.TensorProto")

ERROR_CODES: Final[dict[str, int]] = enum_numbers("tensorflow.error.Code")
VERSION_STATES: Final[dict[str, int]] = enum_numbers(_PACKAGE + "ModelVersionStatus.State")
