"""Within v1 no answer changes or loses a field, and no request needs what it did not: compared with every release."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from satchel import __version__
from satchel.server.app import build
from satchel.server.openapi import document
from tests.conformance.contract.promised import FOLDER, broken, lines

TODAY = document(build(), __version__)
RELEASES = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("file", RELEASES, ids=lambda file: file.stem)
def test_what_a_release_promised_over_http_is_kept(file: Path) -> None:
    assert broken(set(file.read_text("utf-8").splitlines()), lines(TODAY)) == []


def test_this_release_has_its_promises_here() -> None:
    """So that the next one is compared with them; write them with ``python -m tests.conformance.contract.promised``."""
    assert __version__.rpartition(".")[0] in {file.stem for file in RELEASES}


def _schema(found: dict[str, Any], name: str) -> dict[str, Any]:
    schema: dict[str, Any] = found["components"]["schemas"][name]
    return schema


BREAKING: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an operation goes": (lambda d: d["paths"].pop("/api/v1/tenant/usage"), "gone: GET /api/v1/tenant/usage"),
    "a parameter goes": (
        lambda d: d["paths"]["/api/v1/search"]["get"]["parameters"].pop(),
        "gone: GET /api/v1/search takes query ",
    ),
    "an answer loses a field": (
        lambda d: _schema(d, "Hit")["properties"].pop("lines"),
        "gone: Hit gives lines [integer]",
    ),
    "a field is not always there": (
        lambda d: _schema(d, "Hit")["required"].remove("author"),
        "gone: Hit gives author always",
    ),
    "a field of an answer is of another form": (
        lambda d: _schema(d, "Hit")["properties"].update(score={"type": "string"}),
        "gone: Hit gives score number",
    ),
    "a request takes a field no more": (
        lambda d: _schema(d, "SearchRequest")["properties"].pop("related"),
        "gone: SearchRequest takes related boolean",
    ),
    "a request needs a field": (
        lambda d: _schema(d, "SearchRequest")["required"].append("limit"),
        "new: SearchRequest needs limit",
    ),
    "a request takes a value no more": (
        lambda d: _schema(d, "GrantCreate")["properties"]["role"]["enum"].remove("write"),
        "gone: GrantCreate takes role 'write'",
    ),
}


@pytest.mark.parametrize("change", BREAKING)
def test_a_change_that_breaks_a_program_is_noticed(change: str) -> None:
    changed = copy.deepcopy(TODAY)
    make, told = BREAKING[change]
    make(changed)
    assert any(line.startswith(told) for line in broken(lines(TODAY), lines(changed)))


def test_what_is_added_breaks_nobody() -> None:
    grown = copy.deepcopy(TODAY)
    _schema(grown, "Hit")["properties"]["more"] = {"type": "string"}
    _schema(grown, "Hit")["required"].append("more")
    _schema(grown, "SearchRequest")["properties"]["more"] = {"type": "string"}
    _schema(grown, "GrantCreate")["properties"]["role"]["enum"].append("more")
    grown["paths"]["/api/v1/more"] = {"post": {"requestBody": {"required": True}, "responses": {}}}
    assert broken(lines(TODAY), lines(grown)) == []
