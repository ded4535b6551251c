"""One source: a log file as the index knows it, and how far it is indexed."""

import msgspec


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far one source is indexed, and by what its file is known again.

    `offset` and `line` count bytes and lines of the content; `head` and `tail` are fingerprints
    of its first bytes and of the last ones before `offset`; the rest is the look at the file
    (`logfiles.FileStat`) that the reading began with.
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

    `gone`: the file was deleted, its entries are kept. `holds_audit`: it has brought an audit
    entry; the store keeps that by itself.
    """

    id: int
    path: str
    checkpoint: Checkpoint
    gone: bool = False
    holds_audit: bool = False
