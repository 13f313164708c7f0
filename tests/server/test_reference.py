"""The generated pages of the repository are those that the code makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from satchel.errors import all_leaves
from satchel.server.app import build
from satchel.server.meanings import MEANINGS
from satchel.server.openapi import document
from satchel.server.problems import status_of
from satchel.server.reference import load_every_code, pages

DOCS = Path(__file__).parents[2] / "docs"
PAGES = pages()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_in_the_repository_is_the_one_the_code_makes(name: str) -> None:
    """Regenerate with ``python -m satchel.server.reference docs``."""
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name]


def test_every_code_has_one_meaning_and_a_status_and_no_meaning_is_left_over() -> None:
    load_every_code()
    leaves = list(all_leaves())
    assert {leaf.code for leaf in leaves} == set(MEANINGS)
    assert len({leaf.code for leaf in leaves}) == len(leaves)
    for leaf in leaves:
        assert 400 <= status_of(leaf) <= 507
        assert leaf.default_hint


def test_no_page_of_a_code_that_is_no_more_is_left() -> None:
    assert {f"errors/{path.name}" for path in (DOCS / "errors").iterdir()} == {n for n in PAGES if "errors/" in n}


def test_every_operation_says_who_may_call_it_and_how_it_refuses() -> None:
    described = document(build(), "0")
    assert described["openapi"].startswith("3.1")
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            statuses = set(operation["responses"])
            assert operation["security"] in ([], [{"credential": []}]), path
            assert {"422", "500", "503"} <= statuses, (method, path)
            if operation["security"]:
                assert {"401", "403", "429"} <= statuses, (method, path)
            if "{p}" in path:
                assert "404" in statuses, (method, path)
            if "requestBody" in operation:
                assert {"408", "413"} <= statuses, (method, path)


def test_every_reference_inside_the_document_leads_somewhere() -> None:
    described = document(build(), "0")
    names = set(described["components"]["schemas"])

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"].rpartition("/")[2]] if isinstance(node.get("$ref"), str) else []
            return own + [name for value in node.values() for name in references(value)]
        return [name for value in node for name in references(value)] if isinstance(node, list) else []

    assert set(references(described)) <= names
    for schema in described["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
