"""What a database cannot keep, or another one could: both engines give the same answer, and none is a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import Postgres
from tests.server.running import Client, Running, serving

NUL = "%00"
BEYOND = 2**63
ADDRESSES: list[tuple[str, str, object, int]] = [
    ("GET", f"/projects/a{NUL}", None, 404),
    ("PUT", f"/projects/a{NUL}/artifacts/a.md", None, 404),
    ("POST", f"/projects/a{NUL}/objects/query", {"objects": []}, 404),
    ("GET", f"/keys?cursor=a{NUL}", None, 422),
    ("GET", f"/members?cursor=a{NUL}", None, 422),
    ("DELETE", f"/keys/a{NUL}", None, 422),
    ("GET", f"/tenant/audit?cursor=a{NUL}", None, 422),
    ("GET", f"/projects/notes/artifacts?cursor=a{NUL}", None, 422),
    ("POST", "/keys", {"name": "k", "projects": [{"project": "a\0", "role": "viewer"}]}, 422),
    ("POST", "/projects/notes/grants", {"principal": "a\0", "role": "viewer"}, 422),
    ("PATCH", "/tenant", {"name": "a\0"}, 422),
    ("POST", "/projects", {"slug": "other", "description": "a\0"}, 422),
    ("GET", f"/projects/notes/versions/{BEYOND}", None, 404),
    ("GET", f"/projects/notes/artifacts?version={BEYOND}", None, 422),
    ("GET", f"/projects/notes/changes?since={BEYOND}", None, 422),
    ("POST", "/keys", {"name": "k", "expiresInDays": BEYOND}, 422),
    ("POST", "/keys", {"name": "k" * 100_000}, 422),
]
TITLES = {
    "zero.json": rb'{"title": "No\u0000w"}',
    "half.json": rb'{"title": "No\ud800w"}',
    "yaml.md": b'---\ntitle: "No\\0w"\n---\nText\n',
    "long.md": b"# " + b"long " * 50_000 + b"\n",
    "context.json": rb'{"name": "a\u0000", "relations": [{"type": "part-of", "project": "a\u0000b"}]}',
}


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    database: Postgres | None = request.getfixturevalue("postgres") if request.param == "PostgreSQL" else None
    url = database.url if database else f"sqlite:///{tmp_path / 'catalog.db'}"
    with serving(tmp_path / "data", database_url=url) as running:
        yield running


@pytest.fixture
def owner(server: Running) -> Client:
    owner = server.tenant("acme")
    owner.post("/projects", {"slug": "notes"}).ok()
    return owner


def test_what_cannot_be_the_name_of_anything_is_answered_alike_by_both_engines(owner: Client) -> None:
    other = {
        f"{method} {path}": got
        for method, path, body, status in ADDRESSES
        if (got := owner.send(method, path, body).status) != status
    }
    assert other == {}


def test_contents_whose_titles_no_database_keeps_are_kept(owner: Client) -> None:
    for path, data in TITLES.items():
        owner.put("notes", path, data).ok()
    for path, data in TITLES.items():
        assert owner.get(f"/projects/notes/artifacts/{path}").body == data
    titles = {row["path"]: row["title"] for row in owner.get("/projects/notes/artifacts").ok()["items"]}
    assert (titles["zero.json"], titles["half.json"], titles["yaml.md"]) == ("No w", "No w", "No w")
    assert owner.get("/projects/notes/context").status == 200
