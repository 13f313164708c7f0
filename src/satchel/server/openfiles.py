"""Who may have how many of the files that this process may open: connections of clients, indexes, and all the rest."""

from __future__ import annotations

import resource

SPARE_FILES = 256
"""Left to everything but connections: a few indexes among it."""
SPARE_INDEXES = 32
"""Indexes that are kept open however few files may be."""
INDEX_FILES = 3
"""Files of one open index: the database, what was written since, and what readers share."""


def connections_at_most(wanted: int) -> int:
    """Of ``wanted`` connections as many as open files allow."""
    return min(wanted, max(64, open_files() - SPARE_FILES))


def indexes_at_most(connections: int) -> int:
    """How many indexes may be kept open beside so many connections."""
    return SPARE_INDEXES + max(0, open_files() - SPARE_FILES - connections) // INDEX_FILES


def open_files() -> int:
    """How many files this process may open, once the limit is as high as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1_000_000
    wanted = 65_536 if hard == resource.RLIM_INFINITY else hard
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # a system with a lower bound of its own
            return soft
    return max(soft, wanted)
