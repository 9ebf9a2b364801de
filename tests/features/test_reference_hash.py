from __future__ import annotations

import pytest

from recserve.features.reference_hash import cross_hash, farmhash, murmur64a, to_bucket


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


@pytest.mark.parametrize(
    ("tokens", "buckets", "bucket"),
    [
        (("a", "x"), 1000, 892),
        (("bb", "y"), 2**63 - 1, 1425871436731482144),
        (("a", "b", "dd"), 2**63 - 1, 7660921678775772842),
        (("hello world, this is long text", "x" * 70), 1000, 322),
        (("-5", "é中", "hello world", "y" * 40), 1000, 438),
    ],
)
def test_crosses_give_the_buckets_of_tensorflow(tokens: tuple[str, ...], buckets: int, bucket: int) -> None:
    """Made with tf.sparse.cross_hashed of TensorFlow 2.21."""
    assert cross_hash(farmhash(token.encode()) for token in tokens) % buckets == bucket
