"""The plan's ops: what feature configs are lowered to.

A plan is a list of frozen op dataclasses in SSA form: op i produces value i, and names its inputs by their numbers.
Each op is small, has one meaning (its docstring, which `reference` spells out in Python and `kernels` in Numba), and a
rate that follows from its inputs. Sharing and rates fall out of this: two features that read one column share its
parse, a map is built once per request, a key is hashed once per item version.

Kinds of values. Each is ragged: row n holds zero or more elements; zero elements mean *missing*.

| kind    | elements                                                                                              |
|---------|-------------------------------------------------------------------------------------------------------|
| TOKENS  | byte strings (UTF-8), optionally with a float32 weight each                                           |
| NUMBERS | float64; NaN is a value here, and is dropped or defaulted where a number leaves the plan              |
| IDS     | int64, optionally with a float32 weight each; -1 marks an element that has no id (dropped by FillIds) |
| STEPS   | no elements: row n holds the steps of a sequence. Values *over* those steps have one row a step        |
| MAP     | for each row an index from key hash to element number, of the keys it was built from                   |
| DENSE   | float32[rows, dim], no raggedness                                                                      |

Domains. The rows of a value are the rows of the batch (`domain is None`) or the steps of the STEPS value `domain`.
All inputs of an op have the op's domain; `Broadcast` carries a row value into a step domain.

Element-aligned ops map element to element and keep counts (HashIds, VocabIds, ParseInts, Normalize ...); weights go
along.
"""

from __future__ import annotations

from recserve.features.op import (
    MASK_COLUMN,
    MAX_COMBINATIONS,
    MAX_COMPARISONS,
    MAX_TEXT_BYTES,
    MISSING_ID,
    Kind,
    Op,
    Value,
    value_field,
)
from recserve.features.ops_columns import (
    AlignSteps,
    Broadcast,
    ElementSteps,
    FlattenSteps,
    Literal,
    LongestSteps,
    NestedPairs,
    PairKeys,
    PairNumbers,
    PairTokens,
    ParseNumbers,
    ParseTokens,
    SplitSteps,
    SpreadElements,
)
from recserve.features.ops_custom import CallCompiled, CallForNumbers, CallForTokens
from recserve.features.ops_ids import (
    AttachWeights,
    Bucketize,
    CrossIds,
    FillIds,
    FirstElements,
    HashIds,
    ParseInts,
    SemanticIds,
    TruncateToIds,
    VocabIds,
)
from recserve.features.ops_maps import (
    BuildMap,
    DotProduct,
    LookupIds,
    LookupNumbers,
    LookupTokens,
)
from recserve.features.ops_numbers import (
    CombineNumbers,
    DenseToNumbers,
    Evaluate,
    FillNumbers,
    IdsToNumbers,
    Normalize,
    ToDense,
    VocabNumbers,
)
from recserve.features.ops_text import (
    ConcatTokens,
    EditDistance,
    FillTokens,
    IdsToTokens,
    JoinTokens,
    MaskTokens,
    NormalizeText,
    NumbersToTokens,
    Overlap,
    PrefixTokens,
    RegexReplace,
    SplitTokens,
    Tokenize,
    TokensToNumbers,
)

__all__ = [
    "MASK_COLUMN",
    "MAX_COMBINATIONS",
    "MAX_COMPARISONS",
    "MAX_TEXT_BYTES",
    "MISSING_ID",
    "AlignSteps",
    "AttachWeights",
    "Broadcast",
    "Bucketize",
    "BuildMap",
    "CallCompiled",
    "CallForNumbers",
    "CallForTokens",
    "CombineNumbers",
    "ConcatTokens",
    "CrossIds",
    "DenseToNumbers",
    "DotProduct",
    "EditDistance",
    "ElementSteps",
    "Evaluate",
    "FillIds",
    "FillNumbers",
    "FillTokens",
    "FirstElements",
    "FlattenSteps",
    "HashIds",
    "IdsToNumbers",
    "IdsToTokens",
    "JoinTokens",
    "Kind",
    "Literal",
    "LongestSteps",
    "LookupIds",
    "LookupNumbers",
    "LookupTokens",
    "MaskTokens",
    "NestedPairs",
    "Normalize",
    "NormalizeText",
    "NumbersToTokens",
    "Op",
    "Overlap",
    "PairKeys",
    "PairNumbers",
    "PairTokens",
    "ParseInts",
    "ParseNumbers",
    "ParseTokens",
    "PrefixTokens",
    "RegexReplace",
    "SemanticIds",
    "SplitSteps",
    "SplitTokens",
    "SpreadElements",
    "ToDense",
    "Tokenize",
    "TokensToNumbers",
    "TruncateToIds",
    "Value",
    "VocabIds",
    "VocabNumbers",
    "value_field",
]
