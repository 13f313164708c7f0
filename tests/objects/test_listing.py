from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.errors import InvalidInput
from satchel.objects.ids import object_id
from satchel.objects.listing import Entry, ListingRefused, check_mode, digest, encode, parse
from satchel.objects.paths import path_problem

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors/listings.json").read_text())

listable = st.text(max_size=12).filter(lambda path: path_problem(path) is None)
entries = st.builds(Entry, st.sampled_from(["100644", "100755"]), st.binary(max_size=4).map(object_id))


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda vector: vector["digest"][:8])
def test_a_listing_and_its_digest_are_as_they_always_were(vector: dict[str, Any]) -> None:
    tree = {path: Entry(*entry) for path, entry in vector["tree"].items()}
    assert encode(tree).decode() == vector["listing"]
    assert digest(tree) == vector["digest"]
    assert parse(vector["listing"].encode()) == tree


@pytest.mark.parametrize("text", VECTORS["refused"].values(), ids=list(VECTORS["refused"]))
def test_a_listing_nobody_would_write_is_refused(text: str) -> None:
    with pytest.raises(ListingRefused):
        parse(text.encode())


def test_a_listing_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ListingRefused):
        parse(b"satchel-listing 1\n\xff\n")


@settings(max_examples=60)
@given(st.dictionaries(listable, entries, max_size=6), st.dictionaries(listable, entries, max_size=6))
def test_two_trees_are_equal_exactly_when_their_digests_are(one: dict[str, Entry], other: dict[str, Entry]) -> None:
    assert parse(encode(one)) == one
    assert (digest(one) == digest(other)) == (one == other)


def test_only_the_two_modes_of_files_can_be_listed() -> None:
    assert check_mode("100755") == "100755"
    with pytest.raises(InvalidInput):
        check_mode("120000")
