"""A changed byte in any file that a server wrote is found, and named with what it affects.

A few of each kind here; ``scripts/prove.py`` plants more than a thousand in stored files and as many in the catalog.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.upkeep.flips import FOUND, Target, flip

KINDS = [
    "about",
    "heads",
    "indexes",
    "installation",
    "keys",
    "packs",
    "purges",
    "records",
    "root key",
    "tables",
    "tombstones",
]
PROVING = bool(os.environ.get("PROVE"))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    made = Target(tmp_path_factory.mktemp("flips"))
    asyncio.run(made.fill())
    return made


def test_every_kind_of_file_is_among_those_that_are_changed(target: Target) -> None:
    assert sorted([*KINDS, "catalog"]) == sorted(target.files())
    assert asyncio.run(target.look()).problems == []
    target.restore()


@pytest.mark.promise("P3")
@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_byte_of_a_stored_file_is_found_and_named(target: Target, kind: str) -> None:
    count = 101 if PROVING else 4
    result = asyncio.run(flip(target, count, len(kind), kind))
    assert result.missed == []
    assert result.counts[kind, FOUND] == count


@pytest.mark.promise("P3")
@pytest.mark.parametrize("seed", range(10 if PROVING else 1))
def test_a_changed_byte_of_the_catalog_is_found_unless_no_row_changed(target: Target, seed: int) -> None:
    count = 110 if PROVING else 20
    result = asyncio.run(flip(target, count, seed, "catalog"))
    assert result.missed == []
    assert result.counts["catalog", FOUND] > count * 3 // 4
