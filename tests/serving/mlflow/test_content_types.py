from __future__ import annotations

import pytest

from recserve.serving.mlflow.content_types import MediaTypeError, read_content_type


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("application/json", "application/json"),
        ("Application/JSON; charset=UTF-8", "application/json"),
        ('text/csv; charset="utf-8";', "text/csv"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
    ],
)
def test_a_type_is_read(value: str, kind: str) -> None:
    assert read_content_type(value) == kind


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("application/json; charset=latin-1", "The scoring server only supports UTF-8"),
        ("application/json; format=pandas-split", "Unrecognized content type parameters: format."),
        ("text/plain", "This predictor only supports the following content types: Types: "),
        ("", "Got ''."),
    ],
)
def test_another_type_is_refused(value: str, problem: str) -> None:
    with pytest.raises(MediaTypeError) as caught:
        read_content_type(value)
    assert problem in str(caught.value)
