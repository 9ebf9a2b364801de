from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.serving.traffic.split import WHOLE_BP, Split, bucket_of, draw_bucket


def test_a_users_bucket_never_changes() -> None:
    assert [bucket_of(user, "rank") for user in ("u1", "u2", "ü", "")] == [9327, 9567, 7770, 6067]
    assert bucket_of("u1", "other") != bucket_of("u1", "rank")


@settings(max_examples=100, deadline=None)
@given(st.text(), st.text(max_size=40))
def test_a_bucket_is_the_keyed_hash_of_the_id(user: str, salt: str) -> None:
    raw = user.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(raw, digest_size=8, key=salt.encode("utf-8", "replace")[:64]).digest()
    assert bucket_of(user, salt) == sum(byte << 8 * place for place, byte in enumerate(digest)) % WHOLE_BP


def test_users_spread_evenly() -> None:
    split = Split(1, {2: 1000})
    got = Counter(split.choose(bucket_of(f"user-{n}", "m")) for n in range(20_000))
    assert 1800 < got[2] < 2200


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.integers(2, 6), st.integers(0, 2000), max_size=5), st.integers(0, WHOLE_BP - 1))
def test_the_version_of_a_bucket_is_that_of_a_written_out_table(shares: dict[int, int], bucket: int) -> None:
    table = [version for version, share in shares.items() for _ in range(share)]
    table += [1] * (WHOLE_BP - len(table))
    assert Split(1, shares).choose(bucket) == table[bucket]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, WHOLE_BP), st.integers(0, WHOLE_BP), st.integers(0, WHOLE_BP - 1))
def test_a_growing_canary_takes_users_and_gives_none_back(share: int, other: int, bucket: int) -> None:
    small, large = sorted((share, other))
    if Split(1, {2: small}).choose(bucket) == 2:
        assert Split(1, {2: large}).choose(bucket) == 2


def test_shares_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"the share of version 2 is -1 basis points\. It is between 0 and 10000\."):
        Split(1, {2: -1})
    with pytest.raises(ConfigError, match=r"the shares are 10001 basis points together\. They are at most 10000\."):
        Split(1, {2: 5000, 3: 5001})


def test_calls_of_nobody_are_drawn() -> None:
    assert len({draw_bucket() for _ in range(50)}) > 1
    assert 0 <= draw_bucket() < WHOLE_BP
