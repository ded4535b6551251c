"""Matches files on disk to known sources after renames, copy-truncate, replacement and deletion.

A source is recognised by its content: the fingerprints of its first bytes and of the last ones
before its checkpoint. Device and inode only suggest where to search first. Content shorter than
FINGERPRINT_BYTES is weak evidence, so it counts only together with the inode or a related name.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from mikroscope.logfiles.links import candidates, is_related
from mikroscope.logfiles.packed import is_packed, unpacked_name
from mikroscope.logfiles.reader import (
    FINGERPRINT_BYTES,
    Chunk,
    FileStat,
    LineReader,
    file_stat,
    fingerprint,
)
from mikroscope.logfiles.source_lookup import SourceLookup
from mikroscope.logfiles.sources import UNREAD, Checkpoint, Source
from mikroscope.logfiles.tree import Listing, LogTree


class Changes(NamedTuple):
    """The result of comparing the files on disk with the known sources."""

    readable: list[str]
    """Paths with something to read, whether or not they have a source yet."""
    updated: list[Source]
    """Sources whose `path` or `gone` has changed."""
    discarded: list[Source]
    """Sources whose content was overwritten, or is also that of another source."""


def reconcile(tree: LogTree, listing: Listing, sources: Iterable[Source]) -> Changes:
    """Compare the files on disk with the known sources.

    Opens only files whose FileStat has changed, and the candidates for sources that were moved.
    """
    return _Reconciliation(tree, listing, list(sources)).run()


def is_unchanged(checkpoint: Checkpoint, stat: FileStat) -> bool:
    """Return True if a file has the same FileStat as when it was last read to its end."""
    return stat == (
        checkpoint.device,
        checkpoint.inode,
        checkpoint.size,
        checkpoint.mtime_ns,
    )


def checkpoint_after(
    before: Checkpoint, chunk: Chunk, reader: LineReader, tree: LogTree, path: str
) -> Checkpoint:
    """Return the checkpoint behind a chunk that was read from the one before, at this path."""
    head = before.head
    if before.offset < FINGERPRINT_BYTES and chunk.offset > before.offset:
        head = fingerprint(reader.first_bytes[: min(chunk.offset, FINGERPRINT_BYTES)])
    return Checkpoint(
        offset=chunk.offset,
        line=chunk.line,
        head=head,
        tail=fingerprint(chunk.tail),
        device=reader.stat.device,
        inode=reader.stat.inode,
        size=reader.stat.size,
        mtime_ns=reader.stat.mtime_ns if chunk.is_end else UNREAD,
        open_bytes=chunk.open_bytes,
        is_unfinished=chunk.is_unfinished,
        target=tree.target(path),
        is_adopted=tree.is_located(path),
    )


def is_same_content(reader: LineReader, checkpoint: Checkpoint) -> bool:
    """Return True if a file, opened at a checkpoint's offset, still has the content before it."""
    if not checkpoint.offset:
        return True
    length = min(checkpoint.offset, FINGERPRINT_BYTES)
    return (
        len(reader.tail) == length
        and fingerprint(reader.tail) == checkpoint.tail
        and fingerprint(reader.first_bytes[:length]) == checkpoint.head
    )


class _Reconciliation:
    """One comparison of files and sources, from the surest match to the least sure."""

    def __init__(self, tree: LogTree, listing: Listing, sources: list[Source]) -> None:
        self._tree = tree
        self._files = dict(listing.files)
        self._others = listing.others
        self._listing = listing
        self._sources = sources
        self._changes = Changes([], [], [])
        self._matched: dict[str, Source] = {}
        self._known = SourceLookup([])  # the matched sources; filled when some are missing
        self._moved_ids: set[int] = set()
        self._heads: dict[str, bytes] = {}
        self._exclude_unfinished_packing()

    def run(self) -> Changes:
        active = {source.path: source for source in self._sources if not source.gone}
        self._include_rotated(active)
        unmatched = self._match_in_place(active)
        missing = [one for one in active.values() if one.path not in self._matched]
        gone = [one for one in self._sources if one.gone]
        unmatched = self._match_moved(unmatched, missing, gone)
        self._resolve_missing([one for one in missing if one.id not in self._moved_ids], gone)
        self._changes.readable.extend(unmatched)  # their content belongs to no source
        return self._changes

    def _exclude_unfinished_packing(self) -> None:
        """Ignore each packed file next to its original, which is deleted when that is finished."""
        for path in [path for path in self._files if is_packed(path)]:
            original = unpacked_name(path)
            is_there = original in self._files or original in self._others
            if target := self._tree.target(path):  # its path here may be beside another file's
                is_there = os.path.exists(unpacked_name(target))
            if is_there:
                del self._files[path]

    def _include_rotated(self, active: dict[str, Source]) -> None:
        """Keep files that are indexed although rotation gave them a name we would not read."""
        for path in active.keys() & self._others.keys():
            stat = self._tree.stat(path)
            if stat is not None:
                self._files[path] = stat

    def _match_in_place(self, active: dict[str, Source]) -> list[str]:
        """Match sources whose file is still at its path; return the paths left unmatched."""
        unmatched = []
        for path, stat in self._files.items():
            source = active.get(path)
            if source is None:
                unmatched.append(path)
            elif is_unchanged(source.checkpoint, stat):
                self._matched[path] = source
            elif _may_match(source.checkpoint, stat) and self._holds(path, source):
                self._matched[path] = source
                self._changes.readable.append(path)
            else:
                unmatched.append(path)
        return unmatched

    def _match_moved(
        self, unmatched: list[str], missing: list[Source], gone: list[Source]
    ) -> list[str]:
        """Move sources to the paths where their content is now; return the paths left unmatched."""
        wanted = SourceLookup([one for one in [*missing, *gone] if one.checkpoint.offset])
        left = []
        for path in unmatched:
            source = self._owner(path, wanted)
            if source is None:
                left.append(path)
            else:
                self._move(source, path)
        return left

    def _owner(self, path: str, wanted: SourceLookup) -> Source | None:
        """Return the wanted source whose content is in this file, by inode first."""
        stat = self._files[path]
        for source in wanted.by_inode(stat.device, stat.inode):
            if source.id not in self._moved_ids and self._holds(path, source):
                return source
        # The file may be a copy, or the inode may have changed with the file system's mount.
        for source in wanted.by_head(self._head(path)):
            if source.id in self._moved_ids or not self._is_distinctive(source, path):
                continue
            if self._holds(path, source):
                return source
        return None

    def _resolve_missing(self, missing: list[Source], gone: list[Source]) -> None:
        """Decide about sources whose content was not found at any path to read."""
        if missing:
            self._known = SourceLookup(self._matched.values())
        for source in missing:
            self._resolve(source)
        self._find_renamed([one for one in gone if one.id not in self._moved_ids])
        self._discard_returned([one for one in gone if one.id not in self._moved_ids])

    def _resolve(self, source: Source) -> None:
        # If the content may still exist somewhere, mark the source as gone rather than discard it:
        # the entries of a gone source stay, those of a discarded one are deleted.
        if (twin := self._twin(source)) is not None:
            self._merge(source, twin)
        elif (real := self._behind_link(source)) is not None:
            self._adopt(source, real)
        elif (kept := self._rotated_copy(source)) is not None:
            if kept and kept not in self._matched:
                self._move(source, kept)
            else:
                self._changes.updated.append(msgspec.structs.replace(source, gone=True))
        elif self._was_rewritten(source):
            self._changes.discarded.append(source)
        else:
            self._changes.updated.append(msgspec.structs.replace(source, gone=True))

    def _behind_link(self, source: Source) -> str | None:
        """Return where the file is that the source's link has led to, if it leads elsewhere now."""
        checkpoint = source.checkpoint
        is_followed = checkpoint.is_adopted or source.path in self._files
        if not checkpoint.target or not is_followed:
            return None
        taken = {(stat.device, stat.inode) for stat in self._files.values()}
        for real in candidates(checkpoint.target, checkpoint.inode):
            try:
                stat = file_stat(os.stat(real))
                # While nothing was read of it, only the inode tells which file it is.
                is_known = checkpoint.offset > 0 or stat.inode == checkpoint.inode
                is_listed = (stat.device, stat.inode) in taken or self._is_unread(stat)
                if not is_known or is_listed:
                    continue
                with LineReader(Path(real), checkpoint.offset, checkpoint.line) as reader:
                    if is_same_content(reader, checkpoint):
                        return real
            except OSError:
                continue
        return None

    def _is_unread(self, stat: FileStat) -> bool:
        """Return whether a file is listed as one that is not read, such as an empty one."""
        found = (path for path, inode in self._others.items() if inode == stat.inode)
        return any((other := self._tree.stat(path)) and other[:2] == stat[:2] for path in found)

    def _adopt(self, source: Source, real: str) -> None:
        """Read on in a file that no link leads to any more, under a name of its own."""
        self._move(source, self._tree.adopt(source.path, real, self._listing))

    def _twin(self, source: Source) -> Source | None:
        """Return another source whose file contains everything that was read of this one."""
        checkpoint = source.checkpoint
        if not checkpoint.offset:
            return None
        alike = self._known.by_fingerprint(checkpoint.head)
        begun = (self._matched.get(path) for path in self._changes.readable)
        candidates = [
            *self._known.by_inode(checkpoint.device, checkpoint.inode),
            *(one for one in alike if self._is_distinctive(source, one.path)),
            *(one for one in begun if one and self._is_shorter(one, source)),
        ]
        for other in candidates:
            if self._matched.get(other.path) is other and self._holds(other.path, source):
                return other
        return None

    def _merge(self, source: Source, twin: Source) -> None:
        """Keep the one of two sources with the same content of which more was read."""
        if twin.checkpoint.offset >= source.checkpoint.offset:
            self._changes.discarded.append(source)
        else:
            self._changes.discarded.append(twin)
            self._move(source, twin.path)

    def _find_renamed(self, gone: list[Source]) -> None:
        """Find files that the walk missed because they were renamed while it ran."""
        paths = {inode: path for path, inode in self._others.items()} if gone else {}
        for source in gone:
            if (real := self._left_behind(source)) is not None:
                self._adopt(source, real)
                continue
            path = paths.get(source.checkpoint.inode)
            if path is not None and path not in self._matched and self._holds(path, source):
                self._move(source, path)

    def _left_behind(self, source: Source) -> str | None:
        """Like `_behind_link` if something was written there since: the link was away meanwhile."""
        target = source.checkpoint.target
        try:
            if not target or is_unchanged(source.checkpoint, file_stat(os.stat(target))):
                return None
        except OSError:
            return None
        return self._behind_link(source)

    def _discard_returned(self, gone: list[Source]) -> None:
        """Discard gone sources whose content was read again from a file that came back in parts."""
        lookup = SourceLookup(gone)
        for path, other in self._matched.items() if gone else ():
            checkpoint = other.checkpoint
            same_file = lookup.by_inode(checkpoint.device, checkpoint.inode)
            for source in same_file + lookup.by_fingerprint(checkpoint.head):
                is_whole = checkpoint.offset >= source.checkpoint.offset
                is_alike = source in same_file or self._is_distinctive(source, path)
                if is_whole and is_alike and self._holds(path, source):
                    self._changes.discarded.append(source)

    def _was_rewritten(self, source: Source) -> bool:
        """Return True if the old content is lost because the file was edited or rewritten.

        Otherwise the file was deleted or moved elsewhere, and its entries are kept.
        """
        checkpoint, stat = source.checkpoint, self._files.get(source.path)
        if not checkpoint.offset:
            return True
        if stat is None or not self._is_readable(source.path):
            return False
        now = self._tree.stat(source.path)
        if now is None or now[:2] != stat[:2]:
            return False  # renamed, or its link pointed elsewhere, since it was listed
        is_same_file = (stat.device, stat.inode) == (checkpoint.device, checkpoint.inode)
        # Files that begin with a hole look alike: that is how copies of a truncated file may begin.
        is_blank = not self._head(source.path).strip(b"\0")
        return is_same_file or (not is_blank and self._has_same_head(source.path, source))

    def _rotated_copy(self, source: Source) -> str | None:
        """Return the path of a rotated copy under a name that is not read otherwise.

        Empty if there is a copy that lacks some of what was indexed; None if there is no copy.
        """
        found = None
        for path, inode in self._others.items():
            # One clue is enough if the content can confirm it, which it cannot if nothing was read.
            clues = (inode == source.checkpoint.inode) + _is_related(source.path, path)
            if clues < (1 if source.checkpoint.offset else 2):
                continue
            if self._holds(path, source):
                return path
            if self._has_same_head(path, source):
                found = ""
        return found

    def _has_same_head(self, path: str, source: Source) -> bool:
        length = min(source.checkpoint.offset, FINGERPRINT_BYTES)
        return fingerprint(self._head(path)[:length]) == source.checkpoint.head

    def _move(self, source: Source, path: str) -> None:
        checkpoint = msgspec.structs.replace(
            source.checkpoint,
            target=self._tree.target(path),
            is_adopted=self._tree.is_located(path),
        )
        moved = msgspec.structs.replace(source, path=path, checkpoint=checkpoint, gone=False)
        self._moved_ids.add(source.id)
        self._matched[path] = moved
        self._known.add(moved)
        self._changes.updated.append(moved)
        self._changes.readable.append(path)

    def _is_distinctive(self, source: Source, path: str) -> bool:
        """Return True if equal content is enough evidence that this path is the source's file."""
        target = source.checkpoint.target
        return (
            source.checkpoint.offset >= FINGERPRINT_BYTES
            or _is_related(source.path, path)
            or (bool(target) and _is_related(target, self._tree.target(path)))
        )

    def _is_shorter(self, begun: Source, source: Source) -> bool:
        """Return True if too little was read of `begun` to compare its fingerprint."""
        offset, whole = begun.checkpoint.offset, source.checkpoint.offset
        return offset < min(whole, FINGERPRINT_BYTES) and self._is_distinctive(source, begun.path)

    def _holds(self, path: str, source: Source) -> bool:
        checkpoint = source.checkpoint
        try:
            with self._tree.open(path, checkpoint.offset, checkpoint.line) as reader:
                return is_same_content(reader, checkpoint)
        except OSError:
            return False

    def _is_readable(self, path: str) -> bool:
        try:
            with self._tree.open(path):
                return True
        except OSError:
            return False

    def _head(self, path: str) -> bytes:
        if path not in self._heads:
            self._heads[path] = self._tree.head(path)
        return self._heads[path]


def _may_match(checkpoint: Checkpoint, stat: FileStat) -> bool:
    """Return False if nothing was read yet and the inode differs: content cannot decide then."""
    return checkpoint.offset > 0 or stat.inode == checkpoint.inode


def _is_related(path: str, other: str) -> bool:
    """Return True if `other` may be `path` rotated, in the same directory."""
    directory, _, name = path.rpartition("/")
    other_directory, _, other_name = other.rpartition("/")
    return directory == other_directory and is_related(name, other_name)
