"""Sends an application's `logging` records to a MikroScope server, from a background thread.

It uses only the standard library, so that an application that just logs loads nothing else.
"""

from mikroscope.logging.drops import Counts
from mikroscope.logging.handler import MikroScopeHandler

__all__ = ["Counts", "MikroScopeHandler"]
