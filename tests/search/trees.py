"""Trees in memory, to index without a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from satchel.objects.ids import Digest, object_id
from satchel.objects.listing import Entry, digest
from satchel.search.index import Index

Files = Mapping[str, bytes | str]


def as_bytes(files: Files) -> dict[str, bytes]:
    return {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}


def tree_of(files: Files) -> dict[str, Entry]:
    return {path: Entry("100644", object_id(data)) for path, data in as_bytes(files).items()}


def bring(index: Index, files: Files) -> int:
    """Bring an index to these files."""
    data = as_bytes(files)
    tree = tree_of(files)
    return index.bring(digest(tree), tree, data.__getitem__, {path: len(one) for path, one in data.items()})


def digest_of(files: Files) -> Digest:
    return digest(tree_of(files))


def index_of(files: Files, path: Path | None = None) -> Index:
    index = Index.open(path)
    bring(index, files)
    return index
