"""Random sequences of what two tenants do at once, with marks in everything: none may ever be read on the other side.

Both sides use the same slugs, project ids, paths, names and idempotency keys, and each also tries what the other side
was given: its object ids, cursors, ETags, key ids. Two things are looked for in every answer: a mark of what the caller
may not read, and a random id that the other side was given first. A sequence is repeated by its number and the seed.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from satchel.auth.roles import Role
from satchel.objects.ids import new_id
from satchel.remote.raw import Reply
from satchel.server.isolation.asking import Asking
from satchel.server.isolation.requests import JSON, Request, decoded, message
from satchel.server.isolation.tools import ERAS
from satchel.server.isolation.world import Tenant

STEPS = 8
"""Steps of one sequence."""
SLUGS = ("alpha", "beta")
PATHS = ("docs/a.md", "docs/b.md", "plans/c.md", "notes/deep/d.md", "context.json")
_ID = re.compile(rb"\b(?:ten|lin|key|mem|psn)_[0-9a-hjkmnp-tv-z]{26}\b")
"""Ids that are made at random by the server: no two sides are ever given the same one."""
_AUDIT = "/tenant/audit"
_TEXT = (("content-type", "text/markdown"),)


class Folder(Protocol):
    """A folder that the real client keeps in step with a project."""

    def sync(self) -> None:
        """Both ways."""
        ...

    def write(self, path: str, text: str) -> None:
        """Change a file."""
        ...

    def read(self) -> Mapping[str, bytes]:
        """Every file as it is now."""
        ...


class Leak(NamedTuple):
    """Something was read where it must not be."""

    sequence: int
    step: str
    who: str
    what: str

    def __str__(self) -> str:
        return f"sequence {self.sequence}: {self.who}, {self.step}: {self.what}"


@dataclass
class Actor:
    """A credential of one side."""

    name: str
    key: str
    reads: frozenset[str]
    """The slugs it may read."""
    admin: bool = False


@dataclass
class Side:
    """One tenant."""

    tenant: Tenant
    marks: dict[str, str]
    """A mark for each project, and that of the tenant under the empty text: in names, descriptions and titles."""
    secrets: dict[str, str]
    """A mark for each project that stands in contents alone, where nothing at rest may give it away."""
    actors: list[Actor] = field(default_factory=list)
    projects: dict[str, str] = field(default_factory=dict)
    """Ids by slug: the same on both sides."""
    given: dict[str, list[str]] = field(default_factory=lambda: {"object": [], "cursor": [], "key": [], "etag": []})
    folders: dict[str, Folder] = field(default_factory=dict)


Folders = Callable[[str, str], Folder]
"""Makes a folder in step with a project (by its id), with a key."""


class Sequences:
    """A driver for two founded tenants."""

    def __init__(
        self,
        asking: Asking,
        a: Tenant,
        b: Tenant,
        word: Callable[[], str],
        *,
        seed: int,
        folders: Folders | None = None,
    ) -> None:
        self.asking = asking
        self.leaks: list[Leak] = []
        self.failed: list[Leak] = []
        """Answers that are the server's own failure: from those nothing can be told."""
        self.steps = 0
        self.seed = seed
        self._word, self._folders = word, folders
        self.sides = (self._settled(a), self._settled(b))
        self._theirs: dict[bytes, Side] = {}
        self._sent: defaultdict[str, set[bytes]] = defaultdict(set)
        self._number = 0
        self._did = "founding"
        self._dice = random.Random()  # noqa: S311 (a sequence is to be repeated)
        for slug in SLUGS:
            project = new_id("prj", hashlib.sha256(f"{seed} {slug}".encode()).digest()[:16])
            for side in self.sides:
                self._create(side, slug, project)
        for side in self.sides:
            self._let_in(side)

    def run(self, first: int, count: int) -> None:
        """The sequences with these numbers; what leaks is in ``leaks``."""
        for number in range(first, first + count):
            self._number = number
            self._dice = random.Random(f"{self.seed} {number}")  # noqa: S311
            for _ in range(STEPS):
                self.steps += 1
                side = self._dice.choice(self.sides)
                step = self._dice.choices(*zip(*_STEPS, strict=True))[0]
                self._did = step.__name__.strip("_").replace("_", " ")
                step(self, side)

    # What each side has ------------------------------------------------------------------------------------------

    def _settled(self, tenant: Tenant) -> Side:
        marks = {"": tenant.mark, **{slug: self._word() for slug in SLUGS}}
        return Side(tenant, marks, {slug: self._word() for slug in SLUGS})

    def _create(self, side: Side, slug: str, project: str) -> None:
        body = {"slug": slug, "id": project, "description": f"About {side.marks[slug]}"}
        self.asking.call(side.tenant.owner, "POST", "/projects", body)
        side.projects[slug] = project

    def _let_in(self, side: Side) -> None:
        every = frozenset(SLUGS)
        side.actors.append(Actor("owner", side.tenant.owner, every, admin=True))
        for slug in SLUGS:
            grant = {"project": side.projects[slug], "role": Role.WRITE.value}
            name = f"writer {side.marks['']} {side.marks[slug]}"
            made = self.asking.call(side.tenant.owner, "POST", "/keys", {"name": name, "projects": [grant]})
            side.actors.append(Actor(f"writer of {slug}", made["key"], frozenset({slug})))
            if self._folders is not None:
                side.folders[slug] = self._folders(side.projects[slug], made["key"])
        made = self.asking.call(side.tenant.owner, "POST", "/keys", {"name": "reader", "role": "read"})
        side.actors.append(Actor("reader", made["key"], every))

    # Asking and looking ------------------------------------------------------------------------------------------

    def _ask(self, side: Side, actor: Actor, request: Request) -> Reply:
        self._sent[side.tenant.slug] |= set(_ID.findall(request.path.encode() + (request.body or b"")))
        reply = self.asking.send(request, actor.key)
        if reply.status >= 500:
            what = Leak(self._number, self._did, actor.name, f"{request.method} {request.path}: {reply.status}")
            self.failed.append(what)
        text = self._without_echo(reply) + b"\n".join(f"{n}: {v}".encode() for n, v in reply.headers)
        self._look(side, actor, text, f"{request.method} {request.path[:200]}", request)
        return reply

    def _look(self, side: Side, actor: Actor, text: bytes, where: str, request: Request | None = None) -> None:
        lower = text.lower()
        for other in self.sides:
            for slug, mark in (*other.marks.items(), *other.secrets.items()):
                if (other is not side or (slug and slug not in actor.reads)) and mark.encode() in lower:
                    self._leaked(side, actor, where, f"a mark of {other.tenant.slug} {slug or '(the tenant)'}")
        sent = b"" if request is None else request.path.encode() + (request.body or b"")
        for found in set(_ID.findall(text)):
            if found in sent or (_AUDIT in where and found in self._sent[side.tenant.slug]):
                continue  # what a tenant's own people asked for, its own audit tells
            first = self._theirs.setdefault(found, side)
            if first is not side:
                self._leaked(side, actor, where, f"an id of {first.tenant.slug}: {found.decode()}")

    def _leaked(self, side: Side, actor: Actor, where: str, what: str) -> None:
        self.leaks.append(Leak(self._number, f"{self._did} ({where})", f"{actor.name} of {side.tenant.slug}", what))

    def _without_echo(self, reply: Reply) -> bytes:
        """The answer without the query that it repeats, nor names that were asked for and are none."""
        told = decoded(reply)
        match told:
            case {"query": _, **rest} if "hits" in rest:
                return json.dumps(rest | {"skipped": None}).encode()
            case {"result": {"structuredContent": {"query": _, **rest}}}:
                return json.dumps(rest | {"skipped": None}).encode()
        return reply.body

    def _send(self, side: Side, actor: Actor, method: str, path: str, body: object = None, headers: Any = ()) -> Reply:
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), (("content-type", JSON), *headers)
        assert body is None or isinstance(body, bytes)
        return self._ask(side, actor, Request("", method, "/api/v1" + path, tuple(headers), body))

    def _tool(self, side: Side, actor: Actor, name: str, **arguments: object) -> Reply:
        request = message(self._dice.choice(ERAS), "tools/call", {"name": name, "arguments": arguments})
        return self._ask(side, actor, request)

    def _anybody(self, side: Side) -> Actor:
        return self._dice.choice(side.actors)

    def _project(self, side: Side) -> str:
        slug = self._dice.choice(SLUGS)
        return self._dice.choice((slug, side.projects[slug]))

    def _other(self, side: Side) -> Side:
        return self.sides[1] if side is self.sides[0] else self.sides[0]

    def _text(self, side: Side, slug: str) -> str:
        secret, number = side.secrets[slug], self._dice.randrange(1_000)
        return f"# Everywhere {number} {side.marks[slug]}\n\nShared words, and {secret}.\n\n- [ ] do {secret}\n"

    def _query(self, side: Side) -> str:
        """Words that both sides have, or one that only one side has."""
        marks = [mark for one in self.sides for mark in (*one.marks.values(), *one.secrets.values())]
        return self._dice.choice(["everywhere", "shared words", "kind:note everywhere", *marks])

    # Steps -------------------------------------------------------------------------------------------------------

    def _write_an_artifact(self, side: Side) -> None:
        slug, path = self._dice.choice(SLUGS), self._dice.choice(PATHS)
        actor = self._dice.choice([actor for actor in side.actors if slug in actor.reads])
        text = self._text(side, slug)
        if path == "context.json":
            text = json.dumps({"name": slug, "notes": side.secrets[slug]})
        at = f"/projects/{slug}/artifacts/{path}"
        there = self._send(side, actor, "GET", at)
        match = ("if-match", there.header("etag")) if there.status == 200 else ("if-none-match", "*")
        done = self._send(side, actor, "PUT", at, text.encode(), (*_TEXT, match, *self._replayed()))
        side.given["etag"].append(done.header("etag"))

    def _delete_an_artifact(self, side: Side) -> None:
        at = f"/projects/{self._project(side)}/artifacts/{self._dice.choice(PATHS)}"
        self._send(side, self._anybody(side), "DELETE", at, None, (("if-match", "*"), *self._replayed()))

    def _read_an_artifact(self, side: Side) -> None:
        query = self._dice.choice(("", "?at=1", "?at=2"))
        at = f"/projects/{self._project(side)}/artifacts/{self._dice.choice(PATHS)}{query}"
        accept = (("accept", JSON),) if self._dice.random() < 0.5 else ()
        reply = self._send(side, self._anybody(side), "GET", at, None, accept)
        if reply.status == 200:
            side.given["etag"].append(reply.header("etag"))
            side.given["object"].append(reply.header("etag").strip('"'))

    def _list(self, side: Side) -> None:
        what = self._dice.choice(
            ("", "/artifacts?limit=1", "/tasks?limit=1", "/context", "/versions?limit=1", "/changes?limit=1", "/grants")
        )
        reply = self._send(side, self._anybody(side), "GET", f"/projects/{self._project(side)}{what}")
        match decoded(reply):
            case {"next": str(cursor)}:
                side.given["cursor"].append(cursor)

    def _list_the_tenants_things(self, side: Side) -> None:
        what = self._dice.choice(
            (
                "/projects",
                "/keys?limit=100",
                "/members",
                "/tenant",
                "/tenant/audit?limit=50",
                "/tenant/usage",
                "/auth/whoami",
            )
        )
        self._send(side, self._anybody(side), "GET", what)

    def _search(self, side: Side) -> None:
        query, actor = self._query(side), self._anybody(side)
        way = self._dice.randrange(4)
        if way == 0:
            self._send(side, actor, "GET", f"/search?q={quote(query)}&limit=50")
        elif way == 1:
            self._send(side, actor, "POST", "/search", {"query": query, "projects": [self._project(side)]})
        elif way == 2:
            self._send(side, actor, "GET", f"/projects/{self._project(side)}/search?q={quote(query)}")
        else:
            self._send(side, actor, "POST", f"/projects/{self._project(side)}/search", {"query": query, "limit": 50})

    def _ask_as_an_agent(self, side: Side) -> None:
        actor, project = self._anybody(side), self._project(side)
        way = self._dice.randrange(7)
        if way == 0:
            self._tool(side, actor, "search", query=self._query(side), limit=50)
        elif way == 1:
            self._tool(side, actor, "search", query=self._query(side), projects=[project])
        elif way == 2:
            self._tool(side, actor, "artifacts_get", project=project, path=self._dice.choice(PATHS))
        elif way == 3:
            self._tool(side, actor, "context_get", project=project)
        elif way == 4:
            self._tool(side, actor, self._dice.choice(("tasks_open", "artifacts_list", "history")), project=project)
        elif way == 5:
            self._tool(side, actor, "projects_list")
        else:
            self._ask(side, actor, message(self._dice.choice(ERAS), "resources/list", {}))

    def _describe(self, side: Side) -> None:
        slug = self._dice.choice(SLUGS)
        text = f"About {side.marks[slug]}, {self._dice.randrange(100)}"
        self._send(side, side.actors[0], "PATCH", f"/projects/{slug}", {"description": text})

    def _make_the_same_key(self, side: Side) -> None:
        """The same body under the same idempotency key as the other side: each has its own result."""
        body = {"name": "same", "projects": [{"project": side.projects["alpha"], "role": "read"}]}
        reply = self._send(side, side.actors[0], "POST", "/keys", body, self._replayed(1.0))
        match decoded(reply):
            case {"id": str(made)}:
                side.given["key"].append(made)

    def _try_what_the_other_was_given(self, side: Side) -> None:
        other, actor, project = self._other(side), self._anybody(side), self._project(side)
        given = {kind: self._dice.choice(values) if values else "" for kind, values in other.given.items()}
        at = f"/projects/{project}"
        way = self._dice.randrange(6)
        if way == 0 and given["object"]:
            self._send(side, actor, "POST", f"{at}/objects/read", {"objects": [given["object"]]})
        elif way == 1 and given["object"]:
            self._send(side, actor, "POST", f"{at}/objects/query", {"objects": [given["object"]]})
        elif way == 2 and given["cursor"]:
            what = self._dice.choice(("artifacts", "changes", "tasks", "versions"))
            self._send(side, actor, "GET", f"{at}/{what}?cursor={quote(given['cursor'])}")
        elif way == 3 and given["etag"]:
            read = (("if-none-match", given["etag"]),)
            self._send(side, actor, "GET", f"{at}/artifacts/{self._dice.choice(PATHS)}", None, read)
        elif way == 4 and given["key"]:
            self._send(side, actor, "DELETE", f"/keys/{given['key']}")
        elif way == 5 and given["key"]:
            self._send(side, actor, "POST", f"{at}/grants", {"principal": given["key"], "role": "read"})

    def _sync_a_folder(self, side: Side) -> None:
        if not side.folders:
            return
        slug = self._dice.choice(SLUGS)
        folder = side.folders[slug]
        if self._dice.random() < 0.6:
            folder.write(self._dice.choice(PATHS[:-1]), self._text(side, slug))
        folder.sync()
        actor = next(actor for actor in side.actors if actor.reads == frozenset({slug}))
        for path, data in folder.read().items():
            self._look(side, actor, data, f"the folder's {path}")

    def _replayed(self, chance: float = 0.3) -> tuple[tuple[str, str], ...]:
        """An idempotency key out of a few, so that both sides use the same ones."""
        if self._dice.random() >= chance:
            return ()
        return (("idempotency-key", f"same-{self._dice.randrange(5)}"),)


_STEPS = (
    (Sequences._write_an_artifact, 5),
    (Sequences._delete_an_artifact, 1),
    (Sequences._read_an_artifact, 4),
    (Sequences._list, 3),
    (Sequences._list_the_tenants_things, 2),
    (Sequences._search, 5),
    (Sequences._ask_as_an_agent, 5),
    (Sequences._describe, 1),
    (Sequences._make_the_same_key, 1),
    (Sequences._try_what_the_other_was_given, 3),
    (Sequences._sync_a_folder, 1),
)
