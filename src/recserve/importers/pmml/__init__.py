"""PMML 3.0 to 4.4: documents read into programs of the scoring core.

`document` parses, `dictionary` and `schema` say what a raw value becomes, `transformations`, `expressions`, `functions`
and `predicates` compute with fields, `models` has a module for each model element, `targets` and `output` finish what
they predict, `verification` holds the program to the samples that a document carries.
"""

from __future__ import annotations

from pathlib import Path

from recserve.errors import ConfigError
from recserve.importers.model import ImportedModel, Output, Report
from recserve.importers.pmml import verification
from recserve.importers.pmml.dictionary import read_dictionary
from recserve.importers.pmml.document import Document, open_document
from recserve.importers.pmml.models import find_model, lower_model
from recserve.importers.pmml.output import predicted
from recserve.importers.pmml.results import Result
from recserve.importers.pmml.scope import Scope, Typed
from recserve.importers.pmml.text_index import Terms
from recserve.importers.pmml.transformations import read_functions
from recserve.scoring.graph import Graph

_DTYPES = {"number": "float64", "boolean": "bool", "string": "string", "object": "object"}


def read(path: Path) -> ImportedModel:
    """The first model of a PMML document, checked against the samples that the document carries.

    Raises:
        ConfigError: the file is damaged or hostile, contradicts the standard or itself ("invalid_document"), asks for
            what recserve lacks ("unsupported_element"), or its samples come out otherwise ("verification_failed").
    """
    document = open_document(path)
    try:
        model = _lower(document)
    except RecursionError as error:
        raise ConfigError("is nested too deep to read", code="invalid_document", where=document.file) from error
    verification.check(find_model(document.root), model)
    return model


def _lower(document: Document) -> ImportedModel:
    root = document.root
    element = find_model(root)
    terms = Terms()
    if any(one.tag == "TextIndex" for one in root.walk()):
        first = _scope(document)
        first.terms = terms
        lower_model(element, first)
    terms.finish()
    scope = _scope(document)
    scope.terms = terms
    graph, report = scope.graph, scope.report
    result = lower_model(element, scope)
    outputs = _outputs(result, scope)
    for name, typed in outputs.items():
        graph.output(name, typed.value)
    if not outputs:
        raise element.invalid("has neither a target field nor an OutputField")
    program = graph.build()
    inputs = {name: _DTYPES[_raw(data_type)] for name, data_type in report.fields.items()}
    for name in program.inputs:
        data = scope.dictionary.get(name)
        inputs.setdefault(name, _DTYPES[_raw(data.data_type if data else "string")])
    specs = [Output(name, _DTYPES[typed.value.dtype], (name,)) for name, typed in outputs.items()]
    return ImportedModel(program, inputs, specs, report)


def _scope(document: Document) -> Scope:
    """The scope around the model."""
    root = document.root
    return Scope(Graph(), document, Report("pmml"), read_dictionary(root), read_functions(root))


def _raw(data_type: str) -> str:
    """What a caller hands in for a data type: dates as texts."""
    return {"integer": "number", "float": "number", "double": "number", "boolean": "boolean"}.get(data_type, "string")


def _outputs(result: Result, inner: Scope) -> dict[str, Typed]:
    """Name → value of what the model gives out: its targets, then its OutputFields."""
    outputs: dict[str, Typed] = {}
    for name, value in result.values.items():
        outputs[name] = Typed(value, "string" if value.dtype == "string" else "double")
        inner.report.targets.append(name)
    target = result.scope.target if result.scope else None
    if target and target.name and not outputs:
        inner.report.targets.append(target.name)
        if result.listing is not None:
            outputs[target.name] = Typed(result.listing, "string")
        elif result.value is not None and result.scope is not None:
            outputs[target.name] = _as_text(predicted(result, result.scope, inner.document.root), result.scope)
    for name, field in result.fields.items():
        if name not in result.hidden:
            outputs[name] = _as_text(field, inner)
    return outputs


def _as_text(typed: Typed, scope: Scope) -> Typed:
    """Dates go out as texts."""
    dates = ("date", "time", "dateTime")
    return scope.convert(typed, "string") if typed.data_type in dates else typed
