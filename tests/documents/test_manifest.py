from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from satchel.documents.manifest import (
    MAX_MANIFEST_BYTES,
    SCHEMA,
    ManifestInvalid,
    ProjectRelation,
    manifest_problems,
    merged,
    parse_manifest,
    with_relation,
)
from satchel.errors import InvalidInput

PUBLISHED = Path(__file__).parents[2] / "docs" / "spec" / "context.schema.json"


def test_the_published_schema_is_the_one_the_code_holds() -> None:
    assert json.loads(PUBLISHED.read_text()) == SCHEMA
    Draft202012Validator.check_schema(SCHEMA)


def test_a_manifest_is_read_with_what_is_right_of_it() -> None:
    data = {
        "name": "acme",
        "description": 7,
        "repositories": [{"name": "api", "url": "https://example.org/api"}, {"url": "x"}, 3],
        "services": [{"name": "queue", "description": "jobs"}],
        "relations": [
            {"type": "part-of", "project": "platform"},
            {"type": "owns", "project": "x"},
            {"type": "part-of", "project": "a\0"},
            "y",
        ],
        "own": {"kept": True},
    }
    manifest = parse_manifest(json.dumps(data).encode())
    assert manifest.description == ""
    assert manifest.relations == (ProjectRelation("part-of", "platform"),)
    assert manifest.raw == data


@pytest.mark.promise("P8")
def test_what_is_read_of_a_manifest_is_no_more_than_it_may_have() -> None:
    relations = [{"type": "part-of", "project": f"p{number}"} for number in range(1_001)]
    manifest = parse_manifest(json.dumps({"description": "x" * 10_001, "relations": relations}).encode())
    assert (manifest.description, len(manifest.relations)) == ("", 1_000)
    assert parse_manifest(json.dumps({"description": "x" * 10_000}).encode()).description == "x" * 10_000


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[]", "not a JSON object"),
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1e999}', "Out of range"),
        (b"\xff{}", "not UTF-8"),
        (b'{"a": "\\ud800"}', "not UTF-8"),
        (b"[" * 200_000, "nested"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "over"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_with_the_reason(data: bytes, says: str) -> None:
    with pytest.raises(ManifestInvalid, match=says):
        parse_manifest(data)
    assert says in manifest_problems(data)[0]


def test_a_relation_is_added_once_and_everything_else_stays_as_it_was() -> None:
    before = b'{\n    "z": 1, "relations": [{"type": "part-of", "project": "p", "note": "old"}], "a": "\xc3\xa9"}'
    after = with_relation(before, "depends-on", "q")
    assert list(json.loads(after)) == ["z", "relations", "a"]
    assert json.loads(after)["relations"][0]["note"] == "old"
    assert b'\n    "z"' in after
    assert "é".encode() in after
    assert with_relation(after, "depends-on", "q") == after
    assert with_relation(after, "part-of", "p") == after
    assert json.loads(with_relation(None, "part-of", "p")) == {"relations": [{"type": "part-of", "project": "p"}]}


def test_a_relation_a_manifest_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidInput, match="type is not one of"):
        with_relation(None, "owns", "p")
    with pytest.raises(InvalidInput, match="project is empty"):
        with_relation(None, "part-of", "")
    with pytest.raises(ManifestInvalid, match="relations is not an array"):
        with_relation(b'{"relations": 3}', "part-of", "p")


def test_a_change_is_merged_and_a_null_removes() -> None:
    before = b'{"name": "a", "own": {"x": 1, "y": 2}, "services": [{"name": "s"}]}'
    after = json.loads(merged(before, {"name": "b", "own": {"x": None}, "services": []}))
    assert after == {"name": "b", "own": {"y": 2}, "services": []}
    with pytest.raises(ManifestInvalid, match="name is not a string"):
        merged(before, {"name": 3})
    assert merged(b'\xef\xbb\xbf{\n\t"a": 1\n}', {"b": 2}) == b'{\n\t"a": 1,\n\t"b": 2\n}\n'
    with pytest.raises(ManifestInvalid, match="a key is there twice"):
        merged(b'{"own": 1, "own": 2}', {"name": "a"})


def _nested(depth: int, inside: object) -> object:
    for _ in range(depth):
        inside = [inside]
    return inside


@pytest.mark.promise("P8")
def test_a_manifest_that_would_be_large_once_it_is_indented_is_not_made() -> None:
    text = json.dumps({"own": _nested(800, [1] * 300_000)}, separators=(",", ":")).encode()
    tracemalloc.start()
    try:
        with pytest.raises(ManifestInvalid, match="would be over 1,048,576 bytes"):
            merged(text, {"name": "a"})
        with pytest.raises(ManifestInvalid, match="would be over 1,048,576 bytes"):
            merged(None, json.loads(text))
        with pytest.raises(ManifestInvalid, match="would be over 1,048,576 bytes"):
            with_relation(text, "part-of", "p")
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_a_change_that_is_nested_too_deeply_is_refused() -> None:
    change: dict[str, Any] = {}
    for _ in range(5_000):
        change = {"a": change}
    with pytest.raises(ManifestInvalid, match="nested too deeply"):
        merged(None, change)


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, 3, "", "x", "part-of", "owns"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["name", "type", "project", "url"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "own"]), _VALUES, max_size=4))
def test_problems_are_found_exactly_where_a_full_validator_finds_them(data: dict[str, Any]) -> None:
    assert bool(manifest_problems(json.dumps(data).encode())) is not Draft202012Validator(SCHEMA).is_valid(data)
