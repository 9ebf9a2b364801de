"""Numba kernels of the plan's ops, one a kind of op, and what they share.

A kernel is `kernel(op, run) -> status`: `op` is one instruction, `run` the state of the running stage (see `layout`).
It reads its inputs by address, takes memory from the stage's arena, and writes the descriptor row of its output. So no
kernel knows a plan, a feature or a batch size, and one compilation serves them all. `KERNELS` says where each is.
"""

from __future__ import annotations

from typing import Final

KERNELS: Final[dict[str, tuple[str, ...]]] = {
    "parse": ("split_steps", "parse_tokens", "parse_numbers"),
    "pairs": ("parse_pairs",),
    "nested": ("nested_pairs",),
    "steps": (
        "lift_steps",
        "lift_rows",
        "broadcast",
        "flatten_steps",
        "longest_steps",
        "align_steps",
        "element_steps",
        "spread_elements",
        "first_elements",
        "expand",
    ),
    "tokens": (
        "literal",
        "join_tokens",
        "concat_tokens",
        "prefix_tokens",
        "split_tokens",
        "fill_tokens",
        "mask_tokens",
        "attach_weights",
    ),
    "ids": ("hash_ids", "vocab_ids", "parse_ints", "truncate_to_ids", "bucketize", "semantic_ids", "fill_ids"),
    "convert": ("ids_to_tokens", "numbers_to_tokens", "ids_to_numbers", "tokens_to_numbers", "dense_to_numbers"),
    "numeric": ("fill_numbers", "normalize", "combine_numbers", "to_dense"),
    "compare": ("overlap", "edit_distance"),
    "evaluate": ("evaluate",),
    "crosses": ("join_hash", "cross_ids"),
    "custom": ("call_compiled",),
    "lookup_groups": ("lookup_group",),
    "maps": ("build_map", "lookup_numbers", "lookup_dense", "lookup_ids", "lookup_tokens", "dot_product"),
}
"""{module of this package: its kernels}."""
