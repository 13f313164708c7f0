"""The short way of plain reads answers as FastAPI does, whatever is asked."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
import urllib3
from fastapi.routing import APIRoute

from satchel.server.app import API, build
from satchel.server.routes import ROUTERS
from satchel.server.shortcut import Shortcut
from tests.server.running import Client, Running

pytestmark = pytest.mark.promise("P5")

OF_A_PROJECT = (
    "", "/context", "/context?budget=5000&tokens=900", "/context?budget=1", "/context?budget=many", "/context?budget=",
    "/search", "/search?q=word", "/search?q=word&limit=3&offset=1&related=true", "/search?q=word&limit=0",
    "/search?q=word&related=perhaps", "/search?q=a&q=b", "/search?q=%FF%00", "/search?what=1", "/search?limit=5&",
    "/search?q=word&at=0", "/search?q=word&at=1", "/search?at=" + 41 * "1", "/tasks", "/tasks?done=on",
    "/tasks?limit=9999999",
    "/versions", "/versions?cursor=x", "/versions?limit=1", "/artifacts", "/artifacts?kind=note&prefix=docs/",
    "/artifacts?limit=-1", "/artifacts?prefix=" + 1_100 * "p", "/artifacts/docs/a.md",
    "/artifacts/docs/a.md?first=1&last=2",
    "/artifacts/docs/a.md?at=1", "/artifacts/docs/a.md?at=0", "/artifacts/docs/a.md?at=9", "/artifacts/docs%2Fa.md",
    "/artifacts/none.md", "/artifacts/", "/artifacts/../x", "/artifacts/%7Bpath%7D", "/artifacts//docs/a.md",
    "/outlines/docs/a.md", "/outlines/docs/a.md?limit=x", "/changes", "/changes?since=1", "/changes?since=9",
    "/changes?since=1&until=1", "/changes?since=-1", "/changes?cursor=AAAA", "/objects/damaged", "/grants",
    "/invitations",
    "/versions/1", "/nothing", "/", "/context/", "/context/more", "/contexts",
)  # fmt: skip
OTHERS = (
    "/projects", "/projects?limit=1", "/projects?limit=x", "/projects/", "/projects?archived=1&limit=1&limit=2",
    "/projects/none/context", "/projects/none/search?limit=x", "/projects/{p}/context", "/projects//context",
    "/search?q=word", "/search?project=a&project=a", "/keys", "/keys?cursor=x", "/members", "/tenant", "/tenant/usage",
    "/tenant/usage/projects?limit=1", "/tenant/audit?limit=3", "/tenant/audit?limit=no", "/tenant/settings/history",
    "/admin/tenants", "/auth/whoami", "/auth/whoami?x=1", "/invitations", "/health/live", "/nothing", "", "/",
)  # fmt: skip
ACCEPTS: tuple[dict[str, str], ...] = ({}, {"accept": "application/json"}, {"if-none-match": '"x"', "accept": "*/*"})


@pytest.fixture
def long_way(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Lets FastAPI answer everything, or nothing that need not be."""
    real = Shortcut._found

    def switch(on: bool) -> None:
        monkeypatch.setattr(Shortcut, "_found", (lambda *_: None) if on else real)

    return switch


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each request that came to a short way was answered on it."""
    found: list[bool] = []
    real = Shortcut._answered

    async def noted(*given: object) -> bool:
        answered = await real(*given)  # type: ignore[arg-type]  # as they came
        found.append(answered)
        return answered

    monkeypatch.setattr(Shortcut, "_answered", noted)
    return found


def told(url: str, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
    """All of an answer that is not of its own moment or number; the path is sent as it is."""
    parts = urlsplit(url)
    pool = urllib3.HTTPConnectionPool(str(parts.hostname), parts.port)
    got = pool.urlopen(method, API + path, headers=headers, redirect=False, retries=False)
    own = ("x-request-id", "date", "ratelimit")  # the last counts down
    shown = {name.lower(): value for name, value in got.headers.items() if name.lower() not in own}
    body = got.data.replace(got.headers["x-request-id"].encode(), b"")
    pool.close()
    return got.status, body, shown


def test_both_ways_answer_alike_whoever_asks_for_whatever(
    server: Running, new_tenant: Callable[[], Client], long_way: Callable[[bool], None], taken: list[bool]
) -> None:
    owner, other = new_tenant(), new_tenant()
    for who, slug in ((owner, "mine"), (other, "theirs")):
        who.post("/projects", {"slug": slug}).ok()
        who.put(slug, "docs/a.md", b"# One word\n\n- [ ] a task\n\n## Two\n\nmore\n").ok()
    reader = owner.post("/keys", {"name": "r", "role": "read"}).ok()["key"]
    credentials = {"owner": owner.key, "reader": reader, "none": None, "wrong": f"{owner.key}x"}
    paths = [f"/projects/{slug}{path}" for slug in ("mine", "theirs") for path in OF_A_PROJECT]
    for name, key in credentials.items():
        sent: dict[str, str] = {} if key is None else {"authorization": f"Bearer {key}"}
        for number, path in enumerate((*OTHERS, *(paths if name in ("owner", "reader") else paths[:4]))):
            for method in ("GET", "HEAD", "OPTIONS", "DELETE") if path == "/projects/mine/context" else ("GET",):
                headers = sent | ACCEPTS[number % len(ACCEPTS)]
                answers = []
                for on in (False, True):
                    long_way(on)
                    answers.append(told(server.url, method, path, headers))
                assert answers[0] == answers[1], (name, method, path)
    assert taken.count(True) > 150
    assert taken.count(False) > 10  # what does not fit


def test_a_defect_and_a_lack_of_memory_are_answered_alike(
    server: Running, owner: Client, long_way: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"authorization": f"Bearer {owner.key}"}
    for error in (RuntimeError("a defect"), MemoryError()):

        def broken(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("satchel.server.routes.projects.projects.list_", broken)
        answers = []
        for on in (False, True):
            long_way(on)
            answers.append(told(server.url, "GET", "/projects", headers))
        assert answers[0] == answers[1]
        assert answers[0][0] in (500, 503)


def test_the_hot_reads_are_on_the_short_way_and_no_route_before_them_would_have_been_meant() -> None:
    app = build()
    made = Shortcut(app, API, ROUTERS, {})
    short = {route.path for route in made.routes}
    assert {"/projects/{p}/search", "/projects/{p}/artifacts/{path:path}", "/projects/{p}/changes"} <= short
    every = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    read = [route for route in every if "GET" in (route.methods or ())]
    for route in made.routes:
        path = route.path.replace("{path:path}", "a/b").replace("{p}", "x")
        scope = {"type": "http", "method": "GET", "path": API + path, "root_path": ""}
        found = made._found(scope)
        first = next(each for each in read if each.path_regex.match(path))
        assert (found is not None and found.route is first) or (found is None and first is not route), path
