"""The model elements: which module lowers each, and what surrounds every model (schema, transformations, targets)."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from recserve.errors import suggest
from recserve.importers.pmml import output, schema, targets, transformations
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.results import Result
from recserve.importers.pmml.scope import Scope

MODELS: Final[dict[str, str]] = {
    "RegressionModel": "regression",
    "GeneralRegressionModel": "general_regression",
    "TreeModel": "tree",
    "MiningModel": "mining",
    "NeuralNetwork": "neural_network",
    "SupportVectorMachineModel": "support_vector_machine",
    "NaiveBayesModel": "naive_bayes",
    "ClusteringModel": "clustering",
    "NearestNeighborModel": "nearest_neighbor",
    "RuleSetModel": "rule_set",
    "Scorecard": "scorecard",
    "AnomalyDetectionModel": "anomaly_detection",
    "AssociationModel": "association",
}
"""Model element → module of this package with `lower(model, scope) -> Result`."""

UNREAD: Final = (
    "BaselineModel",
    "BayesianNetworkModel",
    "GaussianProcessModel",
    "SequenceModel",
    "TextModel",
    "TimeSeriesModel",
)
"""Model elements of the standard that recserve has no reader for."""

FUNCTIONS: Final = (
    "associationRules",
    "sequences",
    "classification",
    "regression",
    "clustering",
    "timeSeries",
    "mixed",
)


def find_model(parent: Element) -> Element:
    """The first scorable model among an element's children.

    Raises:
        ConfigError: there is none, or recserve cannot read its kind.
    """
    for child in parent:
        if child.tag in UNREAD:
            raise child.unsupported(f"<{child.tag}> is not read")
        if child.tag in MODELS:
            return child
    tags = [child.tag for child in parent if child.tag.endswith("Model")]
    hint = suggest(tags[0], MODELS) if tags else None
    raise parent.invalid(f"has no model{f' but <{tags[0]}>' if tags else ''}", hint)


def lower_model(model: Element, parent: Scope) -> Result:
    """A model with all that surrounds it: its schema and transformations before, targets and outputs after.

    Args:
        model: the model element.
        parent: scope around it: the document's, or that of the model whose segment it is.

    Raises:
        ConfigError: the document contradicts itself, or asks for what recserve lacks.
    """
    if not model.flag("isScorable", True):
        raise model.unsupported("isScorable is false: its author says that it gives no scores")
    function = model.choice("functionName", FUNCTIONS)
    parent.report.count(model.tag)
    scope = parent.child()
    scope.math = model.choice("x-mathContext", ("double", "float"), parent.math)
    schema.declare(model, scope, function)
    if parent.parent is None:
        transformations.declare_global(scope)
    transformations.declare_local(model, scope)
    lower = import_module(f"{__name__}.{MODELS[model.tag]}").lower
    result: Result = lower(model, scope)
    result.scope = scope
    targets.apply(result, scope)
    output.declare(model, result, scope)
    return result
