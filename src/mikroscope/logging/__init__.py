"""Sends what an application logs by `logging` to a MikroScope server, from the background.

Standard library only, so that an application that just logs loads nothing else.
"""

from mikroscope.logging.drops import Counts
from mikroscope.logging.handler import MikroScopeHandler

__all__ = ["Counts", "MikroScopeHandler"]
