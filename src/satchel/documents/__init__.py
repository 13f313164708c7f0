"""What files mean: kinds, front matter, sections, tasks, the project's ``context.json``. Pure: no IO."""

from __future__ import annotations

from satchel.documents.document import DESCRIBE_BYTES, Document, describe, is_text, parse
from satchel.documents.kinds import KINDS, MANIFEST_PATH, MAX_DATA_BYTES, indexable
from satchel.documents.sections import Section, TaskLine

__all__ = [
    "DESCRIBE_BYTES",
    "KINDS",
    "MANIFEST_PATH",
    "MAX_DATA_BYTES",
    "Document",
    "Section",
    "TaskLine",
    "describe",
    "indexable",
    "is_text",
    "parse",
]
