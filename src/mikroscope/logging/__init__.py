"""Sends what an application logs by `logging` to a MikroScope server, from the background.

Standard library only, so that an application that just logs loads nothing else.
"""

from mikroscope.logging.handler import MikroScopeHandler
from mikroscope.logging.losses import Counts

__all__ = ["Counts", "MikroScopeHandler"]
