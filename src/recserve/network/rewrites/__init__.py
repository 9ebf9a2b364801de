"""The rewrites of a flat network, in the one list `PASSES`.

A rewrite replaces values by equal ones (up to float summation order) so that more of the work has a rarer rate. It is
a function that changes a draft in one walk over its nodes, calls `Draft.replace` for each match, and answers nothing;
passes run in order, again and again, until a whole round changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from recserve.network.draft import Draft
from recserve.network.rewrites.affine import split_affine
from recserve.network.rewrites.attention import softmax_by_rows, split_contractions, split_products
from recserve.network.rewrites.choices import group_choices
from recserve.network.rewrites.concats import (
    flatten_concats,
    gather_to_slice,
    group_pieces,
    push_into_concats,
    split_reductions,
    split_to_slices,
)
from recserve.network.rewrites.einsums import spell_out_einsum
from recserve.network.rewrites.expands import drop_expands, expand_last, push_through_expands
from recserve.network.rewrites.masks import fill_masked
from recserve.network.rewrites.merges import take_rows_apart
from recserve.network.rewrites.pairs import pairs_as_product, split_pair_products
from recserve.network.rewrites.picks import pick_early
from recserve.network.rewrites.plain import (
    fold_scale,
    spell_out_batch_norm,
    spell_out_gemm,
    spell_out_squeeze,
    spell_out_sum,
    spell_out_tile,
)
from recserve.network.rewrites.products import (
    join_reshapes,
    lift_merging_reshapes,
    request_on_the_right,
    sums_of_products,
)
from recserve.network.rewrites.retrieved import project_before_retrieval
from recserve.network.rewrites.rows import spread_first_row
from recserve.network.rewrites.selections import (
    flatten_by_piece,
    gather_before_merge,
    join_selections,
    lift_selections,
    select_from_pieces,
    spell_out_gather_nd,
)
from recserve.network.rewrites.stacked import join_stacked_weights, unit_products, weighted_sums, weights_on_the_right
from recserve.network.rewrites.sums import regroup_products, regroup_sums
from recserve.network.rewrites.views import drop_views, join_transposes, lift_transposes, repeat_by_tile

Rewrite = Callable[[Draft], None]

PASSES: Final[tuple[Rewrite, ...]] = (
    spell_out_gemm,
    spell_out_batch_norm,
    spell_out_sum,
    spell_out_tile,
    spell_out_squeeze,
    spell_out_einsum,
    spell_out_gather_nd,
    spread_first_row,
    gather_before_merge,
    weights_on_the_right,
    join_stacked_weights,
    unit_products,
    weighted_sums,
    fold_scale,
    repeat_by_tile,
    join_transposes,
    lift_transposes,
    take_rows_apart,
    lift_merging_reshapes,
    drop_views,
    join_reshapes,
    join_selections,
    lift_selections,
    flatten_concats,
    split_to_slices,
    pick_early,
    gather_to_slice,
    push_into_concats,
    softmax_by_rows,
    fill_masked,
    pairs_as_product,
    split_pair_products,
    group_choices,
    flatten_by_piece,
    select_from_pieces,
    split_products,
    split_contractions,
    split_reductions,
    split_affine,
    push_through_expands,
    drop_expands,
    expand_last,
    sums_of_products,
    request_on_the_right,
    project_before_retrieval,
    group_pieces,
    regroup_sums,
    regroup_products,
)

_MAX_ROUNDS = 40


def rewrite(draft: Draft, passes: Sequence[Rewrite] = PASSES) -> None:
    """Apply passes in place until nothing changes."""
    for _ in range(_MAX_ROUNDS):
        before = len(draft.changes)
        for apply in passes:
            count = len(draft.changes)
            apply(draft)
            if len(draft.changes) > count:
                draft.refresh()
        if len(draft.changes) == before:
            return
