"""Who may have how many of the files that this process may open: connections of clients, indexes, and all the rest."""

from __future__ import annotations

from satchel.config.openfiles import open_files

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
