"""Ids of what leaves, and hashes of what is kept: both functions of names alone."""

from hashlib import blake2b


def digest_of(*parts: object) -> int:
    """128 bits of one cell that is not in the book's columns."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=16).digest(), "big")


def digest_of_columns(kind: bytes, *columns: bytes) -> int:
    """The same of what is too long for its `repr`, as bytes of columns."""
    return int.from_bytes(blake2b(b"".join(columns), digest_size=16, person=kind).digest(), "big")


def short_hash(*parts: object) -> str:
    """An id: 32 hex digits of what makes the thing the only one of its kind."""
    return blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).hexdigest()
