"""H2O MOJOs: the zip of a model trained by H2O, scored as H2O's genmodel scores it."""

from recserve.importers.mojo.reader import read

__all__ = ["read"]
