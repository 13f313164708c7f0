"""How much one answer may hold: apart from the answers' shapes, which a search does not load."""

from __future__ import annotations

MAX_SEARCH_LIMIT = 50
"""Most hits in one answer."""
MAX_LIST_LIMIT = 1_000
"""Most rows in one page of a list."""
MAX_SEARCH_DEPTH = 1_000
"""No further than this into the hits: ``offset`` and ``limit`` together."""
MAX_ARTIFACT_BUDGET = 1_000_000
"""Most characters of an artifact in one answer."""
MAX_CONTEXT_BUDGET = 1_000_000
"""Most characters, and most estimated tokens, of the description of a project."""
MIN_CONTEXT_BUDGET = 2_000
MIN_CONTEXT_TOKENS = 500
"""Names, counts and the last sync take as much at most."""
