"""Lowering of a feature set to a plan graph: each feature in turn, after those that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recserve.errors import ConfigError
from recserve.features import ops
from recserve.features import spec_types as types
from recserve.features.check import order_by_references
from recserve.features.declared import UNBOUNDED_IDS, Declared, boundaries_of, num_buckets_of, vocabularies_of
from recserve.features.graph import GraphOutput, PlanGraph
from recserve.features.lower_inputs import Builder, FeatureInputs, Lowered
from recserve.features.lower_types import lower_bucketize_mode, lower_raw_mode
from recserve.features.lower_values import Finisher
from recserve.features.ops import Kind
from recserve.features.outputs import OutputKind, OutputSpec


def lower(features: Sequence[Declared], asset_dir: Path | None = None, encoded_separator: str = "\x03") -> PlanGraph:
    """The plan of checked features, before passes.

    Raises:
        ConfigError: an asset is missing or wrong, or an input cannot be read as the feature needs it.
    """
    builder = Builder()
    rows: dict[str, int | None] = {}
    modes_without_stubs = [f for f in features if f.mode == "raw" or not f.spec.stub_type]
    for feature in order_by_references(modes_without_stubs):
        inputs = FeatureInputs(feature, builder, encoded_separator)
        try:
            finish = Finisher(inputs, asset_dir)
            builder.features[feature.name] = _spread(feature, inputs, *_lower_one(feature, inputs, finish))
        except ConfigError as error:
            raise error if error.where else error.at(f"feature {feature.name!r}") from None
        rows[feature.name] = _table_rows(feature, finish)
    outputs = (_output(f, builder, rows[f.name]) for f in modes_without_stubs if not f.spec.stub_type)
    return PlanGraph(tuple(builder.ops), tuple(builder.values), tuple(outputs))


def _lower_one(feature: Declared, inputs: FeatureInputs, finish: Finisher) -> tuple[int, int | None]:
    if feature.mode == "raw":
        return lower_raw_mode(feature, inputs, finish)
    if feature.mode == "bucketize":
        return lower_bucketize_mode(feature, inputs, finish)
    value = finish.finish_encoded()
    return value, inputs.builder.values[value].domain


def _spread(feature: Declared, inputs: FeatureInputs, value: int, steps: int | None) -> Lowered:
    """The output, its elements laid out as steps where the feature wants that."""
    if not feature.is_spread:
        if feature.is_sequence and steps is None:
            raise ConfigError("no input is a sequence")
        return Lowered(value, steps)
    steps = inputs.add(ops.ElementSteps(value, feature.limit))
    return Lowered(inputs.add(ops.SpreadElements(value, steps)), steps)


def _table_rows(feature: Declared, finish: Finisher) -> int | None:
    """num_embeddings; None if the feature is dense or its ids are unbounded."""
    spec, vocabularies = feature.spec, vocabularies_of(feature.spec)
    if not feature.is_sparse:
        return None
    if vocabularies and (vocabularies.zch or vocabularies.dynamicemb):
        return vocabularies.zch.zch_size if vocabularies.zch else vocabularies.dynamicemb.max_capacity  # type: ignore[union-attr]
    if vocabularies and vocabularies.hash_bucket_size:
        return vocabularies.hash_bucket_size
    if (buckets := num_buckets_of(spec)) is not None:
        return None if buckets == UNBOUNDED_IDS else buckets
    if finish.vocabulary:
        return finish.vocabulary.rows
    if boundaries := boundaries_of(spec):
        return len(boundaries) + 1
    if isinstance(spec, types.SidFeature):
        return sum(spec.codebook) or None
    return finish.tokenizer_rows


def _output(feature: Declared, builder: Builder, rows: int | None) -> GraphOutput:
    lowered = builder.features[feature.name]
    value = builder.values[lowered.value]
    is_dense = value.kind is Kind.DENSE
    if feature.is_sequence:
        kind = OutputKind.DENSE_SEQUENCE if is_dense else OutputKind.SPARSE_SEQUENCE
    else:
        kind = OutputKind.DENSE if is_dense else OutputKind.SPARSE
    spec = OutputSpec(
        feature.name,
        kind,
        value.dim if is_dense else feature.spec.embedding_dim,
        value.rate,
        table=None if is_dense else feature.spec.embedding_name or f"{feature.name}_emb",
        rows=rows,
        pooling=feature.spec.pooling.lower(),
        is_weighted=value.is_weighted,
        sequence=feature.sequence,
        max_steps=feature.limit if feature.is_sequence else None,
        is_dynamic=feature.is_dynamic,
    )
    return GraphOutput(spec, lowered.value, lowered.steps)
