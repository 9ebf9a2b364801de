"""Hashes of token bytes: MurmurHash64A and FarmHash's Fingerprint64.

All arithmetic is modulo 2**64: uint64 only, since Numba makes a float of int64 with uint64.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recserve.features.kernels.jit import inner
from recserve.features.kernels.rows import load_u64
from recserve.memory import view_u8

MURMUR64A: Final = 0
FARMHASH: Final = 1
ALGORITHMS: Final = {"murmur64a": MURMUR64A, "farmhash": FARMHASH}

_M: Final = np.uint64(0xC6A4A7935BD1E995)
_SEED: Final = np.uint64(0xC70F6907)
_K0: Final = np.uint64(0xC3A5C85C97CB3127)
_K1: Final = np.uint64(0xB492B66FBE98F273)
_K2: Final = np.uint64(0x9AE16A3B2F90404F)
_47: Final = np.uint64(47)


@inner
def murmur64a(address: int, size_bytes: int) -> Any:
    """MurmurHash64A, seed 0xc70f6907, of the bytes at `address`, as uint64."""
    h = _SEED ^ (np.uint64(size_bytes) * _M)
    whole = size_bytes & ~7
    for position in range(0, whole, 8):
        k = load_u64(address + position) * _M
        k ^= k >> _47
        h = (h ^ (k * _M)) * _M
    rest = size_bytes - whole
    if rest:
        if whole:  # the last 8 bytes, without those that are hashed
            h ^= load_u64(address + size_bytes - 8) >> np.uint64(64 - 8 * rest)
        else:
            tail = view_u8(address, rest)
            for i in range(rest):
                h ^= np.uint64(tail[i]) << np.uint64(8 * i)
        h *= _M
    h ^= h >> _47
    h *= _M
    return h ^ (h >> _47)


@inner
def _rotate(x: Any, bits: int) -> Any:
    return (x >> np.uint64(bits)) | (x << np.uint64(64 - bits))


@inner
def _mix(x: Any) -> Any:
    return x ^ (x >> _47)


@inner
def _hash_16(u: Any, v: Any, mul: Any) -> Any:
    a = _mix((u ^ v) * mul)
    return _mix((v ^ a) * mul) * mul


@inner
def _load_u32(address: int) -> Any:
    part = view_u8(address, 4)
    word = np.uint64(0)
    for i in range(4):
        word |= np.uint64(part[i]) << np.uint64(8 * i)
    return word


@inner
def _up_to_16(s: int, n: int) -> Any:
    mul = _K2 + np.uint64(2 * n)
    if n >= 8:
        a, b = load_u64(s) + _K2, load_u64(s + n - 8)
        return _hash_16(_rotate(b, 37) * mul + a, (_rotate(a, 25) + b) * mul, mul)
    if n >= 4:
        return _hash_16(np.uint64(n) + (_load_u32(s) << np.uint64(3)), _load_u32(s + n - 4), mul)
    if n > 0:
        part = view_u8(s, n)
        y = np.uint64(part[0]) + (np.uint64(part[n >> 1]) << np.uint64(8))
        z = np.uint64(n) + (np.uint64(part[n - 1]) << np.uint64(2))
        return _mix((y * _K2) ^ (z * _K0)) * _K2
    return _K2


@inner
def _up_to_32(s: int, n: int) -> Any:
    mul = _K2 + np.uint64(2 * n)
    a, b = load_u64(s) * _K1, load_u64(s + 8)
    c, d = load_u64(s + n - 8) * mul, load_u64(s + n - 16) * _K2
    return _hash_16(_rotate(a + b, 43) + _rotate(c, 30) + d, a + _rotate(b + _K2, 18) + c, mul)


@inner
def _up_to_64(s: int, n: int) -> Any:
    mul = _K2 + np.uint64(2 * n)
    a, b = load_u64(s) * _K2, load_u64(s + 8)
    c, d = load_u64(s + n - 8) * mul, load_u64(s + n - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _hash_16(y, a + _rotate(b + _K2, 18) + c, mul)
    e, f = load_u64(s + 16) * mul, load_u64(s + 24)
    g, h = (y + load_u64(s + n - 32)) * mul, (z + load_u64(s + n - 24)) * mul
    return _hash_16(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g, mul)


@inner
def _weak_32(s: int, a: Any, b: Any) -> Any:
    z = load_u64(s + 24)
    a += load_u64(s)
    b = _rotate(b + a + z, 21)
    c = a
    a += load_u64(s + 8) + load_u64(s + 16)
    b += _rotate(a, 44)
    return a + z, b + c


@inner
def _over_64(s: int, n: int) -> Any:
    zero, nine = np.uint64(0), np.uint64(9)
    x = np.uint64(81)
    y = x * _K1 + np.uint64(113)
    z = _mix(y * _K2 + np.uint64(113)) * _K2
    v0, v1, w0, w1 = zero, zero, zero, zero
    x = x * _K2 + load_u64(s)
    end = s + ((n - 1) // 64) * 64
    last = end + ((n - 1) & 63) - 63
    while s != end:
        x = _rotate(x + y + v0 + load_u64(s + 8), 37) * _K1
        y = _rotate(y + v1 + load_u64(s + 48), 42) * _K1
        x ^= w1
        y += v0 + load_u64(s + 40)
        z = _rotate(z + w0, 33) * _K1
        v0, v1 = _weak_32(s, v1 * _K1, x + w0)
        w0, w1 = _weak_32(s + 32, z + w1, y + load_u64(s + 16))
        z, x = x, z
        s += 64
    mul = _K1 + ((z & np.uint64(255)) << np.uint64(1))
    s = last
    w0 += np.uint64((n - 1) & 63)
    v0 += w0
    w0 += v0
    x = _rotate(x + y + v0 + load_u64(s + 8), 37) * mul
    y = _rotate(y + v1 + load_u64(s + 48), 42) * mul
    x ^= w1 * nine
    y += v0 * nine + load_u64(s + 40)
    z = _rotate(z + w0, 33) * mul
    v0, v1 = _weak_32(s, v1 * mul, x + w0)
    w0, w1 = _weak_32(s + 32, z + w1, y + load_u64(s + 16))
    z, x = x, z
    return _hash_16(_hash_16(v0, w0, mul) + _mix(y) * _K0 + z, _hash_16(v1, w1, mul) + x, mul)


@inner
def fingerprint64(address: int, size_bytes: int) -> Any:
    """FarmHash Fingerprint64 of the bytes at `address`, as uint64."""
    if size_bytes <= 16:
        return _up_to_16(address, size_bytes)
    if size_bytes <= 32:
        return _up_to_32(address, size_bytes)
    if size_bytes <= 64:
        return _up_to_64(address, size_bytes)
    return _over_64(address, size_bytes)


@inner
def fingerprint_cat(left: Any, right: Any) -> Any:
    """TensorFlow's FingerprintCat64 of two uint64."""
    mixed = (left ^ _M ^ (_mix(right * _M) * _M)) * _M
    return _mix(_mix(mixed) * _M)


@inner
def hash_bytes(address: int, size_bytes: int, algorithm: int) -> Any:
    """The hash by `algorithm` (MURMUR64A or FARMHASH) of the bytes at `address`, as uint64."""
    if algorithm == FARMHASH:
        return fingerprint64(address, size_bytes)
    return murmur64a(address, size_bytes)
