"""The two hash functions of ids, and of crosses, in plain Python: the definition that the compiled ones are held to.

MurmurHash64A is by Austin Appleby (public domain); FarmHash Fingerprint64 is by Google (MIT).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable
from typing import Final

MURMUR_SEED: Final = 0xC70F6907
_MASK: Final = (1 << 64) - 1
_K0: Final = 0xC3A5C85C97CB3127
_K1: Final = 0xB492B66FBE98F273
_K2: Final = 0x9AE16A3B2F90404F


def murmur64a(data: bytes, seed: int = MURMUR_SEED) -> int:
    """MurmurHash64A of bytes: unsigned 64 bits."""
    m, r = 0xC6A4A7935BD1E995, 47
    h = (seed ^ (len(data) * m)) & _MASK
    whole = len(data) // 8 * 8
    for (k,) in struct.iter_unpack("<Q", data[:whole]):
        mixed = k * m & _MASK
        mixed = (mixed ^ (mixed >> r)) * m & _MASK
        h = (h ^ mixed) * m & _MASK
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & _MASK
    h = (h ^ (h >> r)) * m & _MASK
    return h ^ (h >> r)


def _u64(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<Q", data, at)[0])


def _u32(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _rotate(value: int, shift: int) -> int:
    return ((value >> shift) | (value << (64 - shift))) & _MASK if shift else value


def _mix(value: int) -> int:
    return value ^ (value >> 47)


def _hash_16(u: int, v: int, multiplier: int) -> int:
    a = (u ^ v) * multiplier & _MASK
    a ^= a >> 47
    b = (v ^ a) * multiplier & _MASK
    b ^= b >> 47
    return b * multiplier & _MASK


def _hash_to_16(s: bytes) -> int:
    n = len(s)
    if n >= 8:
        multiplier = (_K2 + n * 2) & _MASK
        a, b = (_u64(s, 0) + _K2) & _MASK, _u64(s, n - 8)
        c = (_rotate(b, 37) * multiplier + a) & _MASK
        d = (_rotate(a, 25) + b) * multiplier & _MASK
        return _hash_16(c, d, multiplier)
    if n >= 4:
        return _hash_16((n + (_u32(s, 0) << 3)) & _MASK, _u32(s, n - 4), (_K2 + n * 2) & _MASK)
    if n > 0:
        y, z = s[0] + (s[n >> 1] << 8), n + (s[n - 1] << 2)
        return _mix((y * _K2 ^ z * _K0) & _MASK) * _K2 & _MASK
    return _K2


def _hash_17_to_32(s: bytes) -> int:
    n = len(s)
    multiplier = (_K2 + n * 2) & _MASK
    a, b = _u64(s, 0) * _K1 & _MASK, _u64(s, 8)
    c, d = _u64(s, n - 8) * multiplier & _MASK, _u64(s, n - 16) * _K2 & _MASK
    u = (_rotate((a + b) & _MASK, 43) + _rotate(c, 30) + d) & _MASK
    return _hash_16(u, (a + _rotate((b + _K2) & _MASK, 18) + c) & _MASK, multiplier)


def _hash_33_to_64(s: bytes) -> int:
    n = len(s)
    multiplier = (_K2 + n * 2) & _MASK
    a, b = _u64(s, 0) * _K2 & _MASK, _u64(s, 8)
    c, d = _u64(s, n - 8) * multiplier & _MASK, _u64(s, n - 16) * _K2 & _MASK
    y = (_rotate((a + b) & _MASK, 43) + _rotate(c, 30) + d) & _MASK
    z = _hash_16(y, (a + _rotate((b + _K2) & _MASK, 18) + c) & _MASK, multiplier)
    e, f = _u64(s, 16) * multiplier & _MASK, _u64(s, 24)
    g, h = (y + _u64(s, n - 32)) * multiplier & _MASK, (z + _u64(s, n - 24)) * multiplier & _MASK
    u = (_rotate((e + f) & _MASK, 43) + _rotate(g, 30) + h) & _MASK
    return _hash_16(u, (e + _rotate((f + a) & _MASK, 18) + g) & _MASK, multiplier)


def _weak_hash_32(s: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = (_u64(s, at + 8 * i) for i in range(4))
    a = (a + w) & _MASK
    b = _rotate((b + a + z) & _MASK, 21)
    c = a
    a = (a + x + y) & _MASK
    b = (b + _rotate(a, 44)) & _MASK
    return (a + z) & _MASK, (b + c) & _MASK


def _hash_over_64(s: bytes) -> int:
    n = len(s)
    x, y = 81, (81 * _K1 + 113) & _MASK
    z = _mix((y * _K2 + 113) & _MASK) * _K2 & _MASK
    v, w = (0, 0), (0, 0)
    x = (x * _K2 + _u64(s, 0)) & _MASK
    for at in range(0, (n - 1) // 64 * 64, 64):
        x = _rotate((x + y + v[0] + _u64(s, at + 8)) & _MASK, 37) * _K1 & _MASK
        y = _rotate((y + v[1] + _u64(s, at + 48)) & _MASK, 42) * _K1 & _MASK
        x ^= w[1]
        y = (y + v[0] + _u64(s, at + 40)) & _MASK
        z = _rotate((z + w[0]) & _MASK, 33) * _K1 & _MASK
        v = _weak_hash_32(s, at, v[1] * _K1 & _MASK, (x + w[0]) & _MASK)
        w = _weak_hash_32(s, at + 32, (z + w[1]) & _MASK, (y + _u64(s, at + 16)) & _MASK)
        z, x = x, z
    multiplier, at = (_K1 + ((z & 0xFF) << 1)) & _MASK, n - 64
    w = ((w[0] + ((n - 1) & 63)) & _MASK, w[1])
    v = ((v[0] + w[0]) & _MASK, v[1])
    w = ((w[0] + v[0]) & _MASK, w[1])
    x = _rotate((x + y + v[0] + _u64(s, at + 8)) & _MASK, 37) * multiplier & _MASK
    y = _rotate((y + v[1] + _u64(s, at + 48)) & _MASK, 42) * multiplier & _MASK
    x ^= w[1] * 9 & _MASK
    y = (y + v[0] * 9 + _u64(s, at + 40)) & _MASK
    z = _rotate((z + w[0]) & _MASK, 33) * multiplier & _MASK
    v = _weak_hash_32(s, at, v[1] * multiplier & _MASK, (x + w[0]) & _MASK)
    w = _weak_hash_32(s, at + 32, (z + w[1]) & _MASK, (y + _u64(s, at + 16)) & _MASK)
    z, x = x, z
    left = (_hash_16(v[0], w[0], multiplier) + _mix(y) * _K0 + z) & _MASK
    return _hash_16(left, (_hash_16(v[1], w[1], multiplier) + x) & _MASK, multiplier)


def farmhash(data: bytes) -> int:
    """FarmHash Fingerprint64 of bytes: unsigned 64 bits."""
    if len(data) <= 16:
        return _hash_to_16(data)
    if len(data) <= 32:
        return _hash_17_to_32(data)
    return _hash_33_to_64(data) if len(data) <= 64 else _hash_over_64(data)


CROSS_KEY: Final = 0xDECAFCAFFE
"""What TensorFlow's crosses start from (`hash_key` unset)."""


def fingerprint_cat(left: int, right: int) -> int:
    """TensorFlow's FingerprintCat64 of two unsigned 64-bit numbers."""
    m = 0xC6A4A7935BD1E995
    mixed = (left ^ m ^ (_mix(right * m & _MASK) * m & _MASK)) * m & _MASK
    return _mix(_mix(mixed) * m & _MASK)


def cross_hash(hashes: Iterable[int]) -> int:
    """One unsigned 64-bit number of the hashes of a combination, in order."""
    return functools.reduce(fingerprint_cat, hashes, CROSS_KEY)


HASHES: Final[dict[str, Callable[[bytes], int]]] = {"murmur64a": murmur64a, "farmhash": farmhash}
"""By the name of HashIds.algorithm."""


def to_bucket(value: int, buckets: int) -> int:
    """The id of a hash: unsigned modulo `buckets`; all 64 bits as int64 if `buckets` is 0."""
    if buckets:
        return value % buckets
    return value - (1 << 64) if value >= 1 << 63 else value
