"""Removes NUL bytes from lines, and finds the end of a hole in a file.

A file holds runs of NUL bytes if a machine lost power, or if it was truncated under a program that
writes without O_APPEND: that goes on at its old place, with a hole before it.
"""

import errno
import os
import re

from mikroscope.records.parsing import NotARecordError, parse_line

RUN = 1024
"""A longer run of NUL bytes may be shortened to this many; fingerprints are not longer."""
_LONG_RUN = re.compile(rb"\0{%d,}" % (RUN + 1))
_RUN = re.compile(rb"\0+")
_INNER_RUN = re.compile(rb"\0{2,}")


def is_record(line: bytes) -> bool:
    """Return whether a line is a JSON object, or several with a NUL byte between each two."""
    try:
        return all(map(parse_line, line.split(b"\0")))
    except NotARecordError:
        return False


def drop_nuls(lines: bytes, first: int) -> tuple[bytes, list[tuple[int, str]]]:
    """Return lines without the NUL bytes in them; `first` is the number of the first one.

    One NUL byte stays between two records of a line.

    Also returns the number of each line that NUL bytes have cut in two, only a part of which is a
    record, with the reason.
    """
    kept, cut = list[bytes](), list[tuple[int, str]]()
    for number, line in enumerate(lines.split(b"\n"), first):
        clean, is_cut = _without_nuls(line) if b"\0" in line else (line, False)
        kept.append(clean)
        if is_cut:
            cut.append((number, "a part of it is not JSON: NUL bytes divide the line"))
    return b"\n".join(kept), cut


def shorten_runs(content: bytes) -> tuple[bytes, int, int]:
    """Shorten long runs of NUL bytes to RUN bytes.

    Returns the content, how many bytes less it has before its last run, and how many less that has
    if it is at the end.
    """
    body = content.rstrip(b"\0")
    shorter = _LONG_RUN.sub(bytes(RUN), body)
    ending = len(content) - len(body)
    kept = min(ending, RUN)
    return shorter + bytes(kept), len(body) - len(shorter), ending - kept


def end_of_hole(descriptor: int) -> int | None:
    """Go from the position of a file to its next data; return how many bytes were skipped.

    None if there is no more data: what is left of the file is a hole, or nothing.
    """
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        return os.lseek(descriptor, position, os.SEEK_DATA) - position
    except AttributeError:  # a system without holes
        return 0
    except OSError as error:
        return None if error.errno == errno.ENXIO else 0


def _without_nuls(line: bytes) -> tuple[bytes, bool]:
    """Return a line without NUL bytes, and whether they have cut a record off from something else.

    A single NUL byte within the line stays, which makes it an error: no run of them is UTF-16.
    """
    line = line.strip(b"\0")
    if b"\0" not in line:
        return line, False
    joined = _INNER_RUN.sub(b"", line)
    if is_record(joined):
        return joined, False
    pieces = [piece for piece in _RUN.split(line) if piece.strip()]
    records = [piece for piece in pieces if is_record(piece)]
    return b"\0".join(records) or joined, 0 < len(records) < len(pieces)
