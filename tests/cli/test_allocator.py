"""The program returns free memory to the system."""

import platform

import pytest

from tests.helpers.stores import run_python

LARGE = 16 << 20
_PROGRAM = """
import os, sys
from pathlib import Path
from mikroscope.cli.allocator import return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

size = int(sys.argv[1])
if sys.argv[2] == "yes":
    return_large_blocks()
# Freed at once: from now on glibc takes such blocks from its heap, unless it is told.
bytearray(size)
before = resident()
block = bytearray(size)
above = [bytearray(100_000) for _ in range(20)]  # what is used above it, so that the heap stays
block = None
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries do so themselves")
def test_large_blocks_go_back() -> None:
    """A large block is returned to the system even if smaller ones above it are in use."""
    kept, returned = (int(run_python(_PROGRAM, LARGE, told)) for told in ("no", "yes"))
    assert kept > LARGE
    assert returned < LARGE / 2
