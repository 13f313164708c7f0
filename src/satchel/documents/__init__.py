"""What files mean: kinds, front matter, sections, tasks, the project's ``context.json``. Pure: no IO.

Nothing is loaded here: a search over an unchanged folder has no document to parse, and start-up is part of its answer.
"""

from __future__ import annotations

MANIFEST_PATH = "context.json"
"""The one file of a project that describes it; see ``documents.manifest``."""
MAX_DATA_BYTES = 256 * 1024
"""A ``.yaml``, ``.toml`` or ``.json`` file over this is data rather than a document: it syncs and is not indexed."""
