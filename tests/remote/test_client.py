from __future__ import annotations

import datetime as dt
import http.server
import json
import os
import random
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from satchel.errors import (
    ConfigInvalid,
    CredentialExpired,
    CredentialInvalid,
    HeadMoved,
    InsufficientScope,
    NoSuchArtifact,
    NoSuchProject,
    QuotaReached,
    SatchelError,
    ServerAway,
    ServerFailed,
    ServerLied,
    TooManyRequests,
    all_leaves,
)
from satchel.objects import zstd
from satchel.objects.ids import Digest, Lineage, ObjectId
from satchel.remote import FixedToken, InsecureRemote, Remote, problem_error
from satchel.sync.choices import Direction
from satchel.sync.lastlook import ManyDeletions
from satchel.sync.run import run
from tests.server.running import Running, serving
from tests.sync.cloud import folder, held, put

# A real server -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("remote") / "data") as running:
        yield running


@pytest.fixture
def remote(server: Running) -> Iterator[Remote]:
    owner = server.tenant(f"tenant-{os.urandom(4).hex()}")
    remote = Remote(server.url, FixedToken(owner.key))
    yield remote
    remote.close()


FILES = {"README.md": "# Acme\n\nWho approves a rollback?\n", "docs/ünï code%20.md": "# Odd name\n- [ ] a task\n"}


@pytest.mark.system
def test_two_folders_meet_over_http(remote: Remote, tmp_path: Path) -> None:
    made = remote.create_project("acme", description="An example")
    ann, bob = folder(tmp_path / "ann", FILES), folder(tmp_path / "bob")
    many = {f"many/{n}.txt": random.Random(n).randbytes(9_000).hex() for n in range(700)}
    put(ann.root, many)
    sent = run(ann, remote, "acme")
    assert (sent.version, len(sent.pushed), sent.in_step) == (1, 702, True)
    assert sent.raw_bytes > 8 << 20  # so that it was streamed, not sent from memory
    got = run(bob, remote, made["id"], Direction.FROM_CLOUD)
    assert got.digest == sent.digest == remote.head("acme").digest
    assert held(bob.root) == held(ann.root) == FILES | many
    assert run(ann, remote, "acme").pushed == []
    before = remote.traffic.received
    assert len(remote.changes("acme", 0, None).items) == 702
    assert remote.traffic.received - before < 80_000  # of 220,000, half of them hashes in hexadecimal
    edit = {"many/3.txt": many["many/3.txt"].replace("7", "seven", 1)}
    put(ann.root, edit)
    run(ann, remote, "acme")
    before = remote.traffic.received
    run(bob, remote, made["id"], Direction.FROM_CLOUD)
    assert remote.traffic.received - before < 2_500  # of 9,000 that are new to nobody
    assert held(bob.root) == FILES | many | edit
    ann.close()
    bob.close()


@pytest.mark.system
def test_the_remote_answers_as_a_reader(remote: Remote, tmp_path: Path) -> None:
    remote.create_project("acme")
    ann = folder(tmp_path / "ann", FILES)
    head = run(ann, remote, "acme")
    ann.close()
    assert [(p["project"], p["version"], p["digest"]) for p in remote.projects()] == [("acme", 1, head.digest)]
    found = remote.search("rollback", projects=["acme"])
    assert [hit["path"] for hit in found["hits"]] == ["README.md"]
    assert remote.search("rollback")["hits"] == found["hits"]
    odd = "docs/ünï code%20.md"
    assert {item["path"] for item in remote.artifacts("acme")["items"]} == set(FILES)
    assert remote.artifact("acme", odd)["text"] == FILES[odd]
    assert remote.artifact_bytes("acme", odd, at=1) == FILES[odd].encode()
    assert [task["text"] for task in remote.tasks("acme")["items"]] == ["a task"]
    assert remote.context("acme")["digest"] == head.digest
    assert [version["version"] for version in remote.history("acme")["items"]] == [1]
    assert remote.health()["mode"] == "cloud"
    with pytest.raises(NoSuchProject):
        remote.context("absent")
    with pytest.raises(NoSuchArtifact):
        remote.artifact("acme", "absent.md")


@pytest.mark.system
def test_a_stream_refused_early_still_gets_its_answer(remote: Remote, tmp_path: Path) -> None:
    from satchel.sync.push import Content, Outgoing, body
    from satchel.sync.wire import Parent, Sent
    from satchel.worktree.walk import Worktree

    remote.create_project("acme")
    root = tmp_path / "ann"
    put(root, {f"{n}.txt": random.Random(n).randbytes(400_000).hex() for n in range(12)})
    scan = Worktree.open(root).scan()
    stale = Parent(Lineage("lin_0"), 7, Digest("0" * 64))
    changes = [Sent(path, entry, scan.sizes[path]) for path, entry in scan.tree.items()]
    contents = [Content(entry.object, path, scan.sizes[path]) for path, entry in scan.tree.items()]
    sending = body(Outgoing(stale, Digest("1" * 64), changes, contents), root)
    assert not isinstance(sending.stream, list)
    with pytest.raises(HeadMoved) as refused:
        remote.sync("acme", sending.stream, sending.declared, "key")
    assert refused.value.facts["version"] == 0


@pytest.mark.system
def test_what_is_no_name_of_a_project_leads_nowhere_else(server: Running, remote: Remote) -> None:
    """`docs/artifacts` as a project was once the list of artifacts of `docs`, whatever was asked."""
    server.admin.post("/projects", {"slug": "slashes"}).ok()
    for name in ("slashes/artifacts", "slashes/", "/", "", " ", ".", "../projects", "slashes?x=", "slashes#", "%2F"):
        for ask in (remote.context, remote.artifacts, remote.tasks, remote.history):
            with pytest.raises(NoSuchProject):
                ask(name)


@pytest.mark.system
def test_a_wrong_key_is_told_from_a_missing_project(server: Running) -> None:
    remote = Remote(server.url, FixedToken("stl_live_wrong"))
    with pytest.raises(CredentialInvalid):
        remote.head("acme")
    remote.close()


# A server that does as it is told ------------------------------------------------------------------------------------

Handler = Callable[[http.server.BaseHTTPRequestHandler], None]


class Scripted:
    """Answers each request with the next handler (the last one for ever), and keeps what was asked."""

    def __init__(self) -> None:
        self.handlers: list[Handler] = []
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        outer = self

        class _Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                size = int(self.headers.get("content-length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.asked.append((self.command, self.path, headers, self.rfile.read(size)))
                handler = outer.handlers.pop(0) if len(outer.handlers) > 1 else outer.handlers[0]
                handler(self)

            do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def says(status: int, value: object, **headers: str) -> Handler:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()

    def handler(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, text in headers.items():
            request.send_header(name.replace("_", "-"), text)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return handler


def hangs_up(request: http.server.BaseHTTPRequestHandler) -> None:
    request.close_connection = True
    request.connection.close()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


@pytest.fixture
def ask(scripted: Scripted) -> Iterator[Remote]:
    remote = Remote(scripted.url, FixedToken("stl_key"))
    yield remote
    remote.close()


HEAD = {"lineage": "lin_1", "version": 3, "digest": "a" * 64}
ROW = {"path": "a.md", "version": 1, "author": "Ann", "time": "2026-01-02T03:04:05.678Z"}
FULL = {**ROW, "mode": "100644", "object": "b" * 64, "size": 5, "kind": "note", "title": "A"}


def test_times_come_to_the_millisecond_and_pages_are_joined(scripted: Scripted, ask: Remote) -> None:
    scripted.handlers = [
        says(200, {**HEAD, "items": [FULL], "next": "c1"}),
        says(200, {**HEAD, "items": [{**ROW, "path": "b.md", "deleted": True}], "next": None}),
    ]
    found = ask.changes("acme", 2, "lin_1")
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=dt.UTC)
    assert [(c.path, c.entry is None, c.time_ms) for c in found.items] == [
        ("a.md", False, round(moment.timestamp() * 1000)),
        ("b.md", True, round(moment.timestamp() * 1000)),
    ]
    assert [path for _, path, _, _ in scripted.asked] == [
        "/api/v1/projects/acme/changes?since=2",
        "/api/v1/projects/acme/changes?since=2&cursor=c1",
    ]
    assert scripted.asked[0][2]["authorization"] == "Bearer stl_key"


def test_another_lineage_means_the_whole_tree(scripted: Scripted, ask: Remote) -> None:
    scripted.handlers = [
        says(200, {**HEAD, "items": [], "next": None}),
        says(200, {**HEAD, "items": [FULL], "next": None}),
    ]
    found = ask.changes("acme", 2, "lin_0")
    assert (found.since, len(found.items)) == (0, 1)


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    "answer",
    [
        says(200, b"<html>"),
        says(200, b"[]"),
        says(200, {}),
        says(200, {**HEAD, "digest": "short", "items": [], "next": None}),
        says(200, {**HEAD, "version": -1, "items": [], "next": None}),
        says(200, {**HEAD, "items": [{**FULL, "mode": "120000"}], "next": None}),
        says(200, {**HEAD, "items": [{**FULL, "object": "../../x"}], "next": None}),
        says(200, {**HEAD, "items": [{**FULL, "time": "yesterday"}], "next": None}),
        says(200, {**HEAD, "items": [{**FULL, "size": "5"}], "next": None}),
        says(200, {**HEAD, "items": ["a.md"], "next": None}),
        says(200, {**HEAD, "items": [], "next": "again"}),
    ],
)
def test_an_answer_that_is_none_is_a_lie(scripted: Scripted, ask: Remote, answer: Handler) -> None:
    scripted.handlers = [answer]
    with pytest.raises(ServerLied):
        ask.changes("acme", 1, "lin_1")


PACKED_TREE = zstd.compress(json.dumps({"x": "y" * 100}).encode())


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (PACKED_TREE[:-1], "zstd"),
        (PACKED_TREE + b"more", "zstd"),
        (PACKED_TREE * 2, "zstd"),
        (b"no zstd at all", "zstd"),
        (PACKED_TREE, "gzip"),
        (zstd.compress(b" " * (2 << 20)), "zstd"),
    ],
)
def test_an_answer_that_cannot_be_unpacked_is_a_lie(
    scripted: Scripted, ask: Remote, monkeypatch: pytest.MonkeyPatch, body: bytes, encoding: str
) -> None:
    monkeypatch.setattr("satchel.remote.connection.MAX_JSON_BYTES", 1 << 20)
    scripted.handlers = [says(200, body, content_encoding=encoding)]
    with pytest.raises(ServerLied, match="unpacked"):
        ask.project("acme")


def test_a_list_of_changes_may_come_packed_and_nothing_else_is_asked_for_so(scripted: Scripted, ask: Remote) -> None:
    page = {**HEAD, "items": [], "next": None, "damaged": 3}
    scripted.handlers = [says(200, zstd.compress(json.dumps(page).encode()), content_encoding="zstd")]
    assert ask.changes("acme", 0, None).damaged == 3
    ask.project("acme")
    assert [headers["accept-encoding"] for _, _, headers, _ in scripted.asked] == ["zstd", "identity"]


@pytest.mark.promise("P8")
def test_an_endless_answer_is_not_read_to_its_end(
    scripted: Scripted, ask: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satchel.remote.connection.MAX_JSON_BYTES", 1_000_000)

    def endless(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.close_connection = True
        try:
            while True:
                request.wfile.write(b" " * 65_536)
        except OSError:
            pass

    scripted.handlers = [endless]
    with pytest.raises(ServerLied):
        ask.project("acme")


PROJECT = {**HEAD, "id": "prj_1", "slug": "acme", "description": ""}


@pytest.mark.promise("P8")
@pytest.mark.parametrize("cursors", [["c1", "c1"], ["c1", "c2", "c1"], [7], [["c1"]]])
def test_a_list_that_comes_back_to_a_page_is_a_lie(scripted: Scripted, ask: Remote, cursors: list[object]) -> None:
    scripted.handlers = [says(200, {"items": [PROJECT], "next": cursor}) for cursor in cursors]
    with pytest.raises(ServerLied, match="does not end"):
        ask.projects()


@pytest.mark.promise("P8")
def test_a_list_that_has_ever_new_pages_is_a_lie(
    scripted: Scripted, ask: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satchel.remote.client.MAX_ROWS", 5)
    scripted.handlers = [says(200, {"items": [PROJECT] * 2, "next": f"c{number}"}) for number in range(3)]
    with pytest.raises(ServerLied, match="does not end"):
        ask.projects()
    scripted.handlers = [says(200, {"items": [], "next": "c1"})]
    with pytest.raises(ServerLied, match="does not end"):
        ask.projects()


def test_a_key_that_an_answer_lacks_is_told_whoever_reads_it(scripted: Scripted, ask: Remote) -> None:
    scripted.handlers = [says(200, {"tenant": {"id": "ten_1"}, "grants": [{}]})]
    who = ask.call("GET", "/auth/whoami")
    with pytest.raises(ServerLied, match="lacks 'slug'"):
        _ = who["tenant"]["slug"]
    with pytest.raises(ServerLied, match="lacks 'role'"):
        _ = who["grants"][0]["role"]
    assert (who["tenant"], who.get("role")) == ({"id": "ten_1"}, None)


def test_one_version_is_asked_by_its_end_and_a_server_that_knows_no_end_is_told_apart(
    scripted: Scripted, ask: Remote
) -> None:
    scripted.handlers = [says(200, {**HEAD, "items": [FULL], "next": None})]
    assert ask.changes_until("acme", 1, 3).head.version == 3
    assert scripted.asked[0][1] == "/api/v1/projects/acme/changes?since=1&until=3"
    scripted.handlers = [says(200, {**HEAD, "items": [FULL], "next": None})]
    with pytest.raises(ServerFailed, match="what one version changed"):
        ask.changes_until("acme", 1, 2)


def test_the_digest_of_a_version_is_told_though_it_expired_and_not_where_there_is_none(
    scripted: Scripted, ask: Remote
) -> None:
    scripted.handlers = [says(200, {**HEAD, "readable": False})]
    assert ask.digest_of("acme", 3) == HEAD["digest"]
    assert scripted.asked[0][1] == "/api/v1/projects/acme/versions/3"
    scripted.handlers = [says(404, {"code": "version.not_found", "title": "none"})]
    assert ask.digest_of("acme", 3) is None


def test_frames_cut_off_are_a_lie_and_a_broken_connection_is_not(scripted: Scripted, ask: Remote) -> None:
    scripted.handlers = [says(200, b"satchel-pack 1\n")]
    with pytest.raises(ServerLied):
        list(ask.read_objects("acme", [ObjectId("a" * 64)]))

    def breaks_off(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("content-length", "1000")
        request.end_headers()
        request.wfile.write(b"satchel-pack 1\n")
        hangs_up(request)

    scripted.handlers = [breaks_off]
    with pytest.raises(ServerAway):
        list(ask.read_objects("acme", [ObjectId("a" * 64)]))


@pytest.mark.promise("P5")
@pytest.mark.parametrize("to", ["http://elsewhere.example/api/v1/projects/acme", "/api/v1/projects/other"])
def test_a_redirect_is_never_followed(scripted: Scripted, ask: Remote, to: str) -> None:
    scripted.handlers = [says(307, {}, location=to)]
    with pytest.raises(ConfigInvalid, match="redirect"):
        ask.project("acme")
    assert len(scripted.asked) == 1


def test_a_kept_connection_that_was_closed_is_opened_again(scripted: Scripted, ask: Remote) -> None:
    scripted.handlers = [says(200, {**HEAD}), hangs_up, says(200, {**HEAD})]
    assert ask.head("acme") == ask.head("acme")
    assert len(scripted.asked) == 3


def test_a_write_without_a_key_is_not_repeated(scripted: Scripted, ask: Remote) -> None:
    scripted.handlers = [hangs_up]
    with pytest.raises(ServerAway):
        ask.call("POST", "/projects", json={"slug": "acme"})
    assert len(scripted.asked) == 1


def test_nobody_listening_and_a_server_too_slow_are_away(
    scripted: Scripted, ask: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satchel.remote.connection.READ_SECONDS", 0.2)
    release = threading.Event()
    scripted.handlers = [lambda request: (release.wait(10), None)[1]]
    slow = Remote(scripted.url, FixedToken(None))
    with pytest.raises(ServerAway, match="in time"):
        slow.project("acme")
    release.set()
    slow.close()
    scripted.close()
    with pytest.raises(ServerAway):
        ask.project("acme")


@pytest.mark.promise("P5")
@pytest.mark.parametrize("key", ["stl_secret\nX: y", "stl_secret\r", "stl_secret\u2603", "stl_secret x", ""])
def test_a_key_that_no_header_can_carry_is_refused_without_naming_it(scripted: Scripted, key: str) -> None:
    remote = Remote(scripted.url, FixedToken(key))
    with pytest.raises(CredentialInvalid) as refused:
        remote.project("acme")
    assert "stl_secret" not in "".join(traceback.format_exception(refused.value))
    assert scripted.asked == []
    remote.close()


class Renewable:
    """A token that expired, and one that took its place."""

    def __init__(self) -> None:
        self.now = "old"
        self.renewed = 0

    def token(self) -> str:
        return self.now

    def renew(self, refused: str | None, exchange: Callable[[str], dict[str, Any]]) -> str | None:
        self.renewed += 1
        self.now = exchange("refresh")["accessToken"]
        return self.now


EXPIRED = says(401, {"code": "auth.expired", "detail": "the token has expired"})


def test_an_expired_token_is_renewed_once(scripted: Scripted) -> None:
    tokens = Renewable()
    remote = Remote(scripted.url, tokens)
    scripted.handlers = [EXPIRED, says(200, {"accessToken": "new"}), says(200, {**HEAD})]
    assert remote.head("acme").version == 3
    assert [(path, headers.get("authorization")) for _, path, headers, _ in scripted.asked] == [
        ("/api/v1/projects/acme", "Bearer old"),
        ("/api/v1/auth/refresh", None),
        ("/api/v1/projects/acme", "Bearer new"),
    ]
    scripted.handlers = [EXPIRED, says(200, {"accessToken": "newer"}), EXPIRED]
    with pytest.raises(CredentialExpired):
        remote.head("acme")
    assert tokens.renewed == 2
    remote.close()


# Without any server --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "problem", "kind"),
    [
        (429, {"code": "quota.reached", "detail": "full", "quota": {"used": 1}}, QuotaReached),
        (404, {"code": "project.not_found", "detail": "no"}, NoSuchProject),
        (429, {}, TooManyRequests),
        (500, {}, ServerFailed),
        (502, {"code": "nobody.knows", "message": "x", "hint": 7}, ServerFailed),
        (401, {"detail": None}, CredentialInvalid),
    ],
)
def test_a_problem_becomes_the_error_it_names(
    status: int, problem: dict[str, object], kind: type[SatchelError]
) -> None:
    error = problem_error(status, problem)
    assert type(error) is kind
    assert error.message


def test_a_server_may_name_any_error_there_is() -> None:
    for leaf in all_leaves():
        assert type(problem_error(400, {"code": leaf.code, "detail": "x", "deleted": 7, "files": 8})) is leaf
    assert cast(ManyDeletions, problem_error(400, {"code": ManyDeletions.code, "deleted": 7})).deleted == 0


def test_a_code_that_is_not_known_here_is_shown_as_the_server_said_it() -> None:
    error = problem_error(403, {"code": "tenant.own", "detail": "x"})
    assert (error.code, error.exit_status) == ("tenant.own", 5)
    assert problem_error(403, {"code": "\x1b[2J", "detail": "x"}).code == InsufficientScope.code
    assert InsufficientScope.code == "auth.insufficient_scope"


def test_facts_of_a_problem_come_back_as_facts() -> None:
    error = problem_error(409, {"code": "sync.head_moved", "detail": "x", **HEAD, "requestId": "req_1"}, "7")
    assert error.facts == {**HEAD, "request_id": "req_1", "retry_after": "7"}


def test_a_problem_may_name_its_members_as_it_likes() -> None:
    problem = {"code": "sync.head_moved", "detail": "x", "self": 1, "message": 2, "hint": "y"}
    assert problem_error(409, problem).message == "x"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "http://10.0.0.1:8470",
        "http://localhost.example.org",
        "http://127.example.org",
        "http://127.0.0.1.example.org",
    ],
)
def test_a_credential_never_goes_over_the_network_in_clear(url: str) -> None:
    with pytest.raises(InsecureRemote):
        Remote(url, FixedToken("key"))
    Remote(url, FixedToken("key"), insecure=True).close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org",
        "https://",
        "https://u:p@example.org",
        "https://x:notaport",
        "https://a b",
        "https://a\\b",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigInvalid):
        Remote(url, FixedToken(None))
