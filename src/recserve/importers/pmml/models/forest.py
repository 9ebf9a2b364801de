"""Sums and averages of many regression trees as one op, where nothing but their scores is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from recserve.importers.pmml import models, schema, targets, transformations
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.models import tree
from recserve.importers.pmml.results import Result
from recserve.importers.pmml.scope import Scope
from recserve.scoring.graph import Value


def lower(model: Element, segmentation: Element, method: str, scope: Scope) -> Result | None:
    """None: no ensemble is lowered as one op yet."""
    return None
