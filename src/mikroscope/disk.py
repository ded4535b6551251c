"""Before the start: the directories exist, can be written, and have room."""

import contextlib
import shutil
import tempfile
from pathlib import Path

from mikroscope.errors import MikroScopeError, StorageFullError

PROBE_PREFIX = ".mikroscope-probe-"


def prepare_directory(directory: Path, purpose: str, min_free_bytes: int) -> None:
    """Make a directory, write to it on trial, and look at the room that is left.

    Raises MikroScopeError naming the directory and what is wrong.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=PROBE_PREFIX) as probe:
            probe.write(b"probe")
            probe.flush()
    except FileExistsError as error:
        raise MikroScopeError(
            f"the {purpose} directory {directory} is a file, expected a directory"
        ) from error
    except OSError as error:
        raise MikroScopeError(
            f"the {purpose} directory {directory} cannot be written: {error.strerror}"
        ) from error
    free = free_bytes(directory)
    if free is not None and free < min_free_bytes:
        raise StorageFullError(
            f"the {purpose} directory {directory} has {free} bytes free, expected at least "
            f"{min_free_bytes}: make room, or set --min-free-bytes lower"
        )


def free_bytes(directory: Path) -> int | None:
    """Room that is left for this user; None if the system does not tell."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(directory).free
    return None
