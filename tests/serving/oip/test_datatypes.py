from __future__ import annotations

from recserve.serving.oip.datatypes import DTYPE_OF, config_type_of, datatype_of
from recserve.signatures import DTYPES


def test_every_datatype_stands_for_a_dtype_and_back() -> None:
    assert set(DTYPE_OF.values()) == set(DTYPES) - {"complex64", "complex128"}
    for datatype, dtype in DTYPE_OF.items():
        assert datatype_of(dtype) == datatype


def test_complex_numbers_have_no_datatype() -> None:
    assert datatype_of("complex64") == "INVALID"
    assert config_type_of("complex64") == "TYPE_INVALID"


def test_configurations_call_text_a_string() -> None:
    assert config_type_of("string") == "TYPE_STRING"
    assert config_type_of("float32") == "TYPE_FP32"
