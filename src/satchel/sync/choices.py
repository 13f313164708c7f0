"""What somebody asks of a sync."""

from __future__ import annotations

from enum import Enum


class Direction(Enum):
    """Which way content may travel in one run."""

    BOTH = "both"
    TO_CLOUD = "to-cloud"
    FROM_CLOUD = "from-cloud"


class Strategy(Enum):
    """Who wins where both sides changed a file and it does not merge. What loses stays in the undo store or in the
    cloud's history."""

    MANUAL = "manual"
    LOCAL = "local"
    CLOUD = "cloud"
    BOTH = "both"
    """The folder's file stays, the cloud's is put beside it, and both are sent."""
