"""Sources: the log files as the index knows them, and how far each one is indexed."""

import msgspec


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far a source is indexed, and how to recognise its file again.

    `offset` and `line` count bytes and lines of the content; `head` and `tail` are fingerprints of
    its first bytes and of the last bytes before `offset`; the rest is the file's `FileStat` when
    the reading began. Stores keep a checkpoint as one opaque value.

    The last `open_bytes` before `offset` are a last line, number `line`, that was read without its
    line end: when it goes on, its entry is replaced. `is_unfinished`: what follows `offset` may be
    such a line; it was not read yet.

    `target` is the real path of a file outside the tree; `is_adopted`: the source's path is only a
    name for it, no link leads there.
    """

    offset: int = 0
    line: int = 0
    head: bytes = b""
    tail: bytes = b""
    device: int = 0
    inode: int = 0
    size: int = 0
    mtime_ns: int = 0
    open_bytes: int = 0
    is_unfinished: bool = False
    target: str = ""
    is_adopted: bool = False


UNREAD = -1
"""In place of a checkpoint's `mtime_ns`: the file was not read to its end."""


def unread(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint of the same file with nothing indexed yet."""
    return Checkpoint(
        device=checkpoint.device,
        inode=checkpoint.inode,
        mtime_ns=UNREAD,
        target=checkpoint.target,
        is_adopted=checkpoint.is_adopted,
    )


class Source(msgspec.Struct, frozen=True):
    """One log file whose lines are indexed.

    `gone`: the file was deleted, its entries stay. `holds_audit`: an audit entry came from it; the
    store sets that by itself.
    """

    id: int
    path: str
    checkpoint: Checkpoint
    gone: bool = False
    holds_audit: bool = False
