"""What a backup says of itself, and what the bucket has to hold beside it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from satchel.upkeep.archive import MANIFEST, NAMES, Archive, Label


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. Bytes and pieces of the catalog; pieces and lines of the lists."""

    installation: str
    schema: str
    catalog_bytes: int
    catalog_sha256: str
    catalog_pieces: int
    heads: int
    heads_pieces: int
    names: int
    names_pieces: int
    keys: tuple[str, ...]
    """Tenants whose keyrings it holds."""


async def read_manifest(archive: Archive, backup: str) -> tuple[Label, Manifest]:
    """The manifest of a backup. Raises ``StoreMissing``, ``WrongKey``, ``BackupDamaged``."""
    label, content = await archive.get(backup, MANIFEST)
    fields = json.loads(content)
    fields["keys"] = tuple(fields["keys"])
    return label, Manifest(**fields)


async def named(archive: Archive, backup: str, manifest: Manifest) -> AsyncIterator[tuple[str, int]]:
    """Name and size of every object of the bucket that the backup's catalog needs, by name."""
    async for piece in archive.sequence(backup, NAMES, manifest.names_pieces):
        for line in piece.decode().splitlines():
            size, _, name = line.partition(" ")
            yield name, int(size)
