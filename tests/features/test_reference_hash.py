from __future__ import annotations

import pytest

from recserve.features.reference_hash import farmhash, murmur64a, to_bucket


@pytest.mark.parametrize(("token", "bucket"), [("abc", 33), ("efg", 44), ("0", 26), ("ua_ia", 37), ("10_1", 93)])
def test_murmur_gives_the_published_buckets(token: str, bucket: int) -> None:
    assert to_bucket(murmur64a(token.encode()), 100) == bucket


@pytest.mark.parametrize(
    ("token", "fingerprint"),
    [(b"1footrue", -1541654101129638711), (b"2applefalse", 2794438866806483259), (b"3true", -4880158226897771312)],
)
def test_farmhash_gives_the_fingerprints_that_bigquery_documents(token: bytes, fingerprint: int) -> None:
    assert to_bucket(farmhash(token), 0) == fingerprint


def test_every_length_hashes_to_64_bits_and_differs_from_its_neighbour() -> None:
    for hash_ in (murmur64a, farmhash):
        found = [hash_(b"a" * n) for n in range(200)]
        assert all(0 <= value < 1 << 64 for value in found)
        assert len(set(found)) == len(found)


def test_a_bucket_is_the_unsigned_remainder() -> None:
    assert to_bucket((1 << 64) - 1, 10) == 5
    assert to_bucket((1 << 64) - 1, 0) == -1
