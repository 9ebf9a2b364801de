"""Models of other platforms, read into one shape: `read(path)` gives a model that scores columns.

A model here is a program of the scoring core (`recserve.scoring`) with named inputs and outputs and a report of what
was read. Each format has a reader of its own (`formats.READERS`), loaded when a file of that format is met.
"""

from recserve.importers.formats import guess, read
from recserve.importers.model import ImportedModel, Output, Report, Scores

__all__ = ["ImportedModel", "Output", "Report", "Scores", "guess", "read"]
