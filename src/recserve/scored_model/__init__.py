"""Scored models: models of other platforms as programs of the scoring core, in a version's directory.

    <base>/<name>/<version>/
    ├── manifest.json   kind, inputs, outputs, sides, the importer's report, and the digest of the program
    └── program.bin     the program (`recserve.scoring.stored`)

    stored.py    `publish` writes a directory, `read_stored` reads it
    model.py     `ScoredModel`: named tensors in, named tensors out
    tensors.py   tensors ↔ columns of the program
    proof.py     that stages and whole answer alike
    ranking.py   `ScoredRanker`: the same model over candidates, in stages

`open_scored_model` opens one. Nothing in it is ever unpickled.
"""

from recserve.scored_model.model import ScoredModel
from recserve.scored_model.ranking import ScoredRanker, open_scored_model
from recserve.scored_model.stored import is_scored_model, publish

__all__ = ["ScoredModel", "ScoredRanker", "is_scored_model", "open_scored_model", "publish"]
