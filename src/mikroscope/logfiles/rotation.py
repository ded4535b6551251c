"""Which source each file on disk is now: rename, copy-truncate, replacement, deletion, return.

A source is known again by its content: the fingerprints of its first bytes and of the last ones
before its checkpoint. Device and inode only say where to look first. Content of less than
FINGERPRINT_BYTES tells little, so it counts only together with the inode or a related name.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from mikroscope.logfiles.reader import FINGERPRINT_BYTES, FileStat, LineReader, fingerprint
from mikroscope.logfiles.sources import Checkpoint, Source
from mikroscope.logfiles.tree import Listing, LogTree


class Changes(NamedTuple):
    """What a look at the tree has shown."""

    readable: list[str]
    """Paths with something to read, whether a source stands there yet or not."""
    updated: list[Source]
    """Sources with another path, or that are now, or no longer, gone."""
    discarded: list[Source]
    """Sources whose content is nowhere any more, or stands in another source as well."""


def reconcile(tree: LogTree, listing: Listing, sources: Iterable[Source]) -> Changes:
    """Compare the files that are there with the sources that are known."""
    return _Reconciliation(tree, listing, list(sources)).run()


def is_unchanged(checkpoint: Checkpoint, stat: FileStat) -> bool:
    """Whether a file looks as it did when it was last read."""
    return stat == (
        checkpoint.device,
        checkpoint.inode,
        checkpoint.size,
        checkpoint.mtime_ns,
    )


def is_same_content(reader: LineReader, checkpoint: Checkpoint) -> bool:
    """Whether a file, opened at a checkpoint's offset, holds what was read up to there."""
    if not checkpoint.offset:
        return True
    length = min(checkpoint.offset, FINGERPRINT_BYTES)
    return (
        len(reader.tail) == length
        and fingerprint(reader.tail) == checkpoint.tail
        and fingerprint(reader.head(length)) == checkpoint.head
    )


class _Reconciliation:
    def __init__(self, tree: LogTree, listing: Listing, sources: list[Source]) -> None:
        self._tree = tree
        self._files = dict(listing.files)
        self._others = listing.others
        self._sources = sources
        self._changes = Changes([], [], [])
        self._standing: dict[str, Source] = {}
        self._known = _Lookup([])  # those that stand, once sources are given up
        self._placed: set[int] = set()
        self._heads: dict[str, bytes] = {}
        self._leave_out_half_packed()

    def run(self) -> Changes:
        active = {source.path: source for source in self._sources if not source.gone}
        self._look_at_rotated(active)
        open_paths = self._keep_standing(active)
        homeless = [one for one in active.values() if one.path not in self._standing]
        gone = [one for one in self._sources if one.gone]
        open_paths = self._find_homes(open_paths, homeless, gone)
        self._changes.readable.extend(open_paths)
        self._decide_on([one for one in homeless if one.id not in self._placed], gone)
        return self._changes

    def _leave_out_half_packed(self) -> None:
        """A `.gz` beside what it is packed from is not finished: gzip removes that at the end."""
        for path in [path for path in self._files if path.endswith(".gz")]:
            origin = path.removesuffix(".gz")
            if origin in self._files or origin in self._others:
                del self._files[path]

    def _look_at_rotated(self, active: dict[str, Source]) -> None:
        """Sources whose file was renamed to a name that is not read otherwise are followed."""
        for path in active.keys() & self._others.keys():
            stat = self._tree.stat(path)
            if stat is not None:
                self._files[path] = stat

    def _keep_standing(self, active: dict[str, Source]) -> list[str]:
        """Tell sources that are where they were; returns the paths where something else is."""
        open_paths = []
        for path, stat in self._files.items():
            source = active.get(path)
            if source is None:
                open_paths.append(path)
            elif is_unchanged(source.checkpoint, stat):
                self._standing[path] = source
            elif _may_stand(source.checkpoint, stat) and self._holds(path, source):
                self._standing[path] = source
                self._changes.readable.append(path)
            else:
                open_paths.append(path)
        return open_paths

    def _find_homes(
        self, open_paths: list[str], homeless: list[Source], gone: list[Source]
    ) -> list[str]:
        """Move sources to the paths where their content is now; returns the paths left open."""
        wanted = _Lookup([one for one in [*homeless, *gone] if one.checkpoint.offset])
        left = []
        for path in open_paths:
            source = self._owner(path, wanted)
            if source is None:
                left.append(path)
            else:
                self._move(source, path)
        return left

    def _owner(self, path: str, wanted: "_Lookup") -> Source | None:
        stat = self._files[path]
        for source in wanted.by_inode(stat.device, stat.inode):
            if source.id not in self._placed and self._holds(path, source):
                return source
        for source in wanted.by_head(self._head(path)):
            if source.id in self._placed or not _is_telling(source, path):
                continue
            if self._holds(path, source):
                return source
        return None

    def _decide_on(self, homeless: list[Source], gone: list[Source]) -> None:
        """What becomes of sources whose content was found at no path that is read."""
        if homeless:
            self._known = _Lookup(self._standing.values())
        for source in homeless:
            self._give_up(source)
        self._follow([one for one in gone if one.id not in self._placed])
        self._look_for_returned([one for one in gone if one.id not in self._placed])

    def _give_up(self, source: Source) -> None:
        if (twin := self._twin(source)) is not None:
            self._unite(source, twin)
        elif (kept := self._kept_aside(source)) is not None:
            if kept and kept not in self._standing:
                self._move(source, kept)
            else:
                self._changes.updated.append(msgspec.structs.replace(source, gone=True))
        elif self._was_rewritten(source):
            self._changes.discarded.append(source)
        else:
            self._changes.updated.append(msgspec.structs.replace(source, gone=True))

    def _twin(self, source: Source) -> Source | None:
        """Another source, indexed by itself, whose file holds what was read of this one."""
        checkpoint = source.checkpoint
        if not checkpoint.offset:
            return None
        alike = self._known.by_fingerprint(checkpoint.head)
        begun = (self._standing.get(path) for path in self._changes.readable)
        candidates = [
            *self._known.by_inode(checkpoint.device, checkpoint.inode),
            *(one for one in alike if _is_telling(source, one.path)),
            *(one for one in begun if one and _is_shorter(one, source)),
        ]
        for other in candidates:
            if self._standing.get(other.path) is other and self._holds(other.path, source):
                return other
        return None

    def _unite(self, source: Source, twin: Source) -> None:
        """Of two sources with the same content keep the one of which more was read."""
        if twin.checkpoint.offset >= source.checkpoint.offset:
            self._changes.discarded.append(source)
        else:
            self._changes.discarded.append(twin)
            self._move(source, twin.path)

    def _follow(self, gone: list[Source]) -> None:
        """Find files again that were missed: a walk does not see what is renamed during it."""
        paths = {inode: path for path, inode in self._others.items()} if gone else {}
        for source in gone:
            path = paths.get(source.checkpoint.inode)
            if path is not None and path not in self._standing and self._holds(path, source):
                self._move(source, path)

    def _look_for_returned(self, gone: list[Source]) -> None:
        """Discard deleted files that were read anew, as if they came back little by little."""
        lookup = _Lookup(gone)
        for path, other in self._standing.items() if gone else ():
            checkpoint = other.checkpoint
            same_file = lookup.by_inode(checkpoint.device, checkpoint.inode)
            for source in same_file + lookup.by_fingerprint(checkpoint.head):
                is_whole = checkpoint.offset >= source.checkpoint.offset
                is_alike = source in same_file or _is_telling(source, path)
                if is_whole and is_alike and self._holds(path, source):
                    self._changes.discarded.append(source)

    def _was_rewritten(self, source: Source) -> bool:
        """Whether its old content is gone for good: its file, or an edited copy, stands there.

        Otherwise that file was deleted, or moved out of sight, and its entries are kept.
        """
        checkpoint, stat = source.checkpoint, self._files.get(source.path)
        if not checkpoint.offset:
            return True
        if stat is None or not self._is_readable(source.path):
            return False
        is_same_file = (stat.device, stat.inode) == (checkpoint.device, checkpoint.inode)
        return is_same_file or self._begins_alike(source.path, source)

    def _kept_aside(self, source: Source) -> str | None:
        """The path of a rotated copy that is not read otherwise.

        Empty if there is one, but not with all that was indexed; None if there is none.
        """
        found = None
        for path, inode in self._others.items():
            clues = (inode == source.checkpoint.inode) + _is_related(source.path, path)
            if clues < (1 if source.checkpoint.offset else 2):
                continue
            if self._holds(path, source):
                return path
            if self._begins_alike(path, source):
                found = ""
        return found

    def _begins_alike(self, path: str, source: Source) -> bool:
        length = min(source.checkpoint.offset, FINGERPRINT_BYTES)
        return fingerprint(self._head(path)[:length]) == source.checkpoint.head

    def _move(self, source: Source, path: str) -> None:
        moved = msgspec.structs.replace(source, path=path, gone=False)
        self._placed.add(source.id)
        self._standing[path] = moved
        self._known.add(moved)
        self._changes.updated.append(moved)
        self._changes.readable.append(path)

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


class _Lookup:
    """Sources to be found by inode, and by the fingerprint of their first bytes."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._inodes: dict[tuple[int, int], list[Source]] = defaultdict(list)
        self._heads: dict[bytes, list[Source]] = defaultdict(list)
        self._lengths: set[int] = set()
        for source in sources:
            self.add(source)

    def add(self, source: Source) -> None:
        checkpoint = source.checkpoint
        self._inodes[checkpoint.device, checkpoint.inode].append(source)
        self._heads[checkpoint.head].append(source)
        self._lengths.add(min(checkpoint.offset, FINGERPRINT_BYTES))

    def by_inode(self, device: int, inode: int) -> list[Source]:
        return self._inodes.get((device, inode), [])

    def by_fingerprint(self, head: bytes) -> list[Source]:
        return self._heads.get(head, [])

    def by_head(self, head: bytes) -> Iterator[Source]:
        for length in sorted(self._lengths, reverse=True):
            if length <= len(head):
                yield from self.by_fingerprint(fingerprint(head[:length]))


def _may_stand(checkpoint: Checkpoint, stat: FileStat) -> bool:
    """Where nothing was read, content tells nothing, so the inode must."""
    return checkpoint.offset > 0 or stat.inode == checkpoint.inode


def _is_telling(source: Source, path: str) -> bool:
    return source.checkpoint.offset >= FINGERPRINT_BYTES or _is_related(source.path, path)


def _is_shorter(begun: Source, source: Source) -> bool:
    """Whether so little was read of one that its fingerprint says nothing about the other's."""
    offset, whole = begun.checkpoint.offset, source.checkpoint.offset
    return offset < min(whole, FINGERPRINT_BYTES) and _is_telling(source, begun.path)


def _is_related(path: str, other: str) -> bool:
    """Whether a name may be that of a rotated file: app.ndjson, app-1.ndjson, app.ndjson.1.gz."""
    directory, _, name = path.rpartition("/")
    other_directory, _, other_name = other.rpartition("/")
    return directory == other_directory and other_name.startswith(name.split(".")[0])
