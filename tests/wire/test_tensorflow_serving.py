"""Message classes of TensorFlow Serving carry the public numbers on the wire."""

from __future__ import annotations

from recserve.wire.tensorflow_serving import ERROR_CODES, VERSION_STATES, ModelSpec, PredictRequest


def test_bytes_of_a_predict_request_are_the_public_ones() -> None:
    request = PredictRequest(model_spec=ModelSpec(name="m", signature_name="s"), output_filter=["o"])
    request.model_spec.version.value = 3
    assert request.SerializeToString() == b"\x0a\x0a\x0a\x01m\x12\x02\x08\x03\x1a\x01s\x1a\x01o"


def test_version_and_label_exclude_one_another() -> None:
    spec = ModelSpec(version_label="stable")
    spec.version.value = 1
    assert spec.WhichOneof("version_choice") == "version"


def test_states_and_codes_have_their_public_numbers() -> None:
    assert VERSION_STATES["AVAILABLE"] == 30
    assert ERROR_CODES["UNAUTHENTICATED"] == 16
