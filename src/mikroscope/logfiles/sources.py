"""Describes a source: a log file as the index knows it, and how far it is indexed."""

import msgspec


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far a source is indexed, and how to recognise its file.

    `offset` and `line` count the content's bytes and lines indexed so far. `head` and `tail` are
    fingerprints of the content's first bytes and of the last ones before `offset`. The other fields
    are the file's `FileStat` from just before it was read.
    """

    offset: int = 0
    line: int = 0
    head: bytes = b""
    tail: bytes = b""
    device: int = 0
    inode: int = 0
    size: int = 0
    mtime_ns: int = 0


class Source(msgspec.Struct, frozen=True):
    """One file whose lines are indexed.

    `gone`: the file was deleted, but its entries are kept. `holds_audit`: it contained an audit
    entry; the store sets this flag itself.
    """

    id: int
    path: str
    checkpoint: Checkpoint
    gone: bool = False
    holds_audit: bool = False
