from __future__ import annotations

import pytest
from pydantic import ValidationError

from recserve.features.spec import FeatureSpec
from recserve.features.spec_types import TYPES, IdFeature, RawFeature


@pytest.mark.parametrize("spec", TYPES.values(), ids=TYPES)
def test_every_type_is_strict_closed_and_immutable(spec: type[FeatureSpec]) -> None:
    assert spec.model_config["extra"] == "forbid"
    assert spec.model_config["strict"]
    assert spec.model_config["frozen"]
    assert set(spec.input_options) <= set(spec.model_fields)
    spec(feature_name="f")


def test_numbers_are_accepted_as_default_values() -> None:
    values = [IdFeature.model_validate({"feature_name": "f", "default_value": x}).default_value for x in (1, 2.0, 0.5)]
    assert values == ["1", "2", "0.5"]
    with pytest.raises(ValidationError):
        IdFeature.model_validate({"feature_name": "f", "default_value": True})


def test_types_are_not_converted() -> None:
    for option, value in {"value_dim": 1.5, "trainable": "true", "feature_name": 3}.items():
        with pytest.raises(ValidationError, match=option):
            RawFeature.model_validate({"feature_name": "f", option: value})


def test_boundaries_increase_and_are_finite() -> None:
    for boundaries in ([2.0, 1.0], [1, 1], [float("inf")], [float("nan")]):
        with pytest.raises(ValidationError, match="boundaries"):
            RawFeature.model_validate({"feature_name": "f", "boundaries": boundaries})


def test_inputs_are_listed_in_the_order_of_the_options() -> None:
    spec = TYPES["match_feature"].model_validate({"feature_name": "f", "skey": "c", "nested_map": "a", "pkey": "b"})
    assert spec.references() == ("a", "b", "c")
