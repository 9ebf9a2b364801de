"""Message classes of the Open Inference Protocol carry the public numbers on the wire."""

from __future__ import annotations

from recserve.wire.open_inference import CONFIG_DATA_TYPES, ModelInferRequest, ModelInferResponse


def test_raw_contents_stand_in_their_public_fields() -> None:
    assert ModelInferRequest(raw_input_contents=[b"x"]).SerializeToString() == b"\x3a\x01x"
    assert ModelInferResponse(raw_output_contents=[b"x"]).SerializeToString() == b"\x32\x01x"


def test_data_types_of_a_config_have_their_public_numbers() -> None:
    assert CONFIG_DATA_TYPES["TYPE_BF16"] == 14
