"""Which model a request means."""

from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import OverloadedError, RequestError
from recserve.serving.grpc.failures import RefusedError
from recserve.serving.grpc.tfs_specs import leased, resolve, spec_of, tfs_words
from recserve.serving.refusals import OutputNamesError
from recserve.wire.tensorflow_serving import ModelSpec, PredictRequest


def test_a_request_without_a_spec_is_refused() -> None:
    with pytest.raises(RefusedError, match="Missing ModelSpec"):
        spec_of(PredictRequest())
    assert spec_of(PredictRequest(model_spec=ModelSpec(name="m"))).name == "m"


def test_a_spec_leases_the_highest_a_given_or_a_labelled_version(serving_of: Any, fakes: Any) -> None:
    registry = serving_of([fakes["half_plus_two"](123), fakes["half_plus_two"](124)]).registry
    registry.set_label("half_plus_two", "stable", 123)
    specs = [ModelSpec(name="half_plus_two"), ModelSpec(name="half_plus_two", version_label="stable")]
    specs.append(ModelSpec(name="half_plus_two"))
    specs[2].version.value = 123
    got = []
    for spec in specs:
        with leased(registry, spec) as model:
            got.append(model.version)
    assert got == [124, 123, 123]


def test_a_version_of_zero_is_a_version(serving_of: Any, fakes: Any) -> None:
    registry = serving_of([fakes["half_plus_two"](0), fakes["half_plus_two"](1)]).registry
    spec = ModelSpec(name="half_plus_two")
    spec.version.SetInParent()
    with leased(registry, spec) as model:
        assert model.version == 0


def test_a_response_names_what_answered(fakes: Any) -> None:
    into = ModelSpec()
    resolve(ModelSpec(name="m", version_label="x"), fakes["half_plus_two"](7), "", into)
    assert (into.name, into.version.value, into.signature_name) == ("m", 7, "serving_default")
    resolve(ModelSpec(name="m"), fakes["half_plus_two"](7), None, bare := ModelSpec())
    assert bare.signature_name == ""


def test_only_what_tensorflow_serving_words_has_its_words() -> None:
    assert tfs_words(RequestError("x")) is None
    assert tfs_words(OverloadedError("x")) is None
    words = tfs_words(OutputNamesError(output="a", known=["z", "b"]))
    assert words is not None
    assert "set {b,z}" in words[1]
