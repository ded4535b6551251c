"""The version of MikroScope."""

__version__ = "0.1.0"
