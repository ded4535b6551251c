"""Makes the C library return freed memory to the system."""

import ctypes

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_LARGE_BYTES = 1 << 20


def return_large_blocks() -> None:
    """Return blocks of one MiB and more to the system as soon as they are freed.

    glibc raises that threshold by itself, to as much as 32 MiB, once such blocks were freed. From
    then on they come from the heap, where free memory below used memory stays resident. Does
    nothing with other C libraries.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
