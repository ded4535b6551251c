"""How the C library gives memory back to the system."""

import ctypes

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_LARGE_BYTES = 1 << 20


def return_large_blocks() -> None:
    """Have blocks of a megabyte and more go back to the system as soon as they are free.

    glibc raises that bound by itself to as much as 32 MiB once it has seen such blocks, and what
    is free below others stays resident. Elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
