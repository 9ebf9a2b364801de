"""What each importer reads, taken from its own tables: the page docs/reference/formats.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from recserve.importers.formats import CONVERTERS, READERS

PAGE: Final = "docs/reference/formats.md"

_INTRODUCTION: Final = """# Model formats

What `recserve import` reads. This page is made from the importers' own tables; a test holds it to them. What a
file asks for and is not listed here is refused with its line or element (`unsupported_element`), never approximated.

[Import a model](../how-to/import_a_model.md) tells how; [ONNX](../how-to/serve_any_onnx_model.md),
[TensorFlow and Keras](../how-to/import_from_tensorflow.md) and [PyTorch](../how-to/import_from_pytorch.md) become plain
models, the formats below scoring programs.

Semantics are those of the format's reference: JPMML-Evaluator and the standard for PMML, genmodel for MOJO, the
platform's own predictions for the others. Arithmetic is double, or float32 where the platform computes in float32.
"""

_TREES: Final = {
    "xgboost": {
        "Files": ["JSON", "UBJSON", "the old binary form"],
        "Boosters": ["gbtree", "dart", "gblinear"],
        "Kept": ["categorical splits", "missing directions", "base scores", "the objective's link"],
    },
    "lightgbm": {
        "Files": ["text (`save_model`)"],
        "Boosters": ["gbdt", "rf", "linear trees"],
        "Kept": ["categorical splits", "zero and NaN as missing", "the objective's link"],
    },
    "catboost": {
        "Files": ['JSON (`save_model(format="json")`)'],
        "Boosters": ["oblivious and other trees"],
        "Kept": ["borders", "one-hot features", "scale and bias"],
    },
}


def supported() -> dict[str, dict[str, list[str]]]:
    """Format → kind of thing → the names that its importer knows."""
    from recserve.importers import mleap, spark
    from recserve.importers.mleap.stages import STAGES as MLEAP
    from recserve.importers.mojo.reader import ALGORITHMS
    from recserve.importers.pmml.functions import FUNCTIONS
    from recserve.importers.pmml.models import MODELS
    from recserve.importers.sklearn.classifiers import CLASSIFIERS
    from recserve.importers.sklearn.regressors import REGRESSORS
    from recserve.importers.sklearn.transformers import TRANSFORMERS
    from recserve.importers.spark.features import STAGES as SPARK
    from recserve.importers.spark.models import CLASSIFIERS as SPARK_CLASSIFIERS

    del mleap, spark  # their modules fill the tables
    return {
        "pmml": {"Model elements": list(MODELS), "Built-in functions": sorted(FUNCTIONS)},
        "mojo": {"Algorithms": sorted([*ALGORITHMS, "gam"])},
        "mleap": {"Transformers": sorted(MLEAP)},
        **_TREES,
        "spark": {"Stages": _short({*SPARK, *SPARK_CLASSIFIERS})},
        "sklearn": {
            "Transformers": sorted(TRANSFORMERS),
            "Classifiers": sorted(CLASSIFIERS),
            "Regressors": sorted(REGRESSORS),
        },
    }


def _short(names: Iterable[str]) -> list[str]:
    """Classes without their packages."""
    return sorted({name.rpartition(".")[2] for name in names})


def page() -> str:
    """The text of the page."""
    known: Mapping[str, Mapping[str, list[str]]] = supported()
    parts = [_INTRODUCTION]
    for form in READERS:
        parts.append(f"## `{form}`\n")
        for kind, names in known[form].items():
            listed = names if form in _TREES else [f"`{name}`" for name in names]
            parts.append(f"**{kind}:** {', '.join(listed)}.\n")
    others = ", ".join(f"`{name}`" for name in CONVERTERS)
    parts.append(f"## Converted to plain models\n\n{others or 'None'}.\n")
    return "\n".join(parts)
