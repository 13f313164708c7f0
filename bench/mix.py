"""The mix of requests that people and agents make, against tenants with projects: for ``load_mix.py``.

80 % reads: searches for words of the texts, whole artifacts, lines of them, contexts, tasks, a third of them through
MCP's tools; 15 % syncs: two looks for changes to each push of an edited file; 5 % administration: keys, usage, audit,
members, projects. Requests are due at even times, whatever became of those before, and a latency counts from the time
one was due. No question is asked on purpose twice.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

sys.path.insert(1, str(Path(__file__).parent))

from corpus import Writer
from fairness import post
from filling import push, texts

from satchel.objects.frame import make_frames
from satchel.objects.ids import Digest, Lineage, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.remote import FixedToken, Remote
from satchel.server.isolation.requests import message
from satchel.sync.wire import MEDIA_TYPE, Parent, Sent, encode_preamble

SHARES = (
    ("search", 26), ("artifact", 20), ("lines", 4), ("context", 4), ("mcp search", 18), ("mcp artifact", 8),
    ("look", 10), ("push", 5), ("keys", 1), ("usage", 1), ("audit", 1), ("members", 1), ("projects", 1),
)  # fmt: skip
ERA = "2026-07-28"


@dataclass(slots=True)
class Project:
    slug: str
    tree: dict[str, Entry]
    sizes: dict[str, int]
    parent: Parent
    busy: bool = False
    paths: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tenant:
    key: str
    projects: list[Project]


def found(url: str, operator: str, tenants: int, projects: int, files: int, size: int) -> list[Tenant]:
    """Tenants with projects, made and filled; the same texts each time."""
    writer = Writer(4)
    trees = [texts(writer, files, size) for _ in range(projects)]
    run = os.urandom(3).hex()

    def one(number: int) -> Tenant:
        key = post(url, operator, "/admin/tenants", {"slug": f"t-{run}-{number}", "name": f"Tenant {number}"})
        remote = Remote(url, FixedToken(key["adminKey"]))
        made = []
        for which, tree in enumerate(trees):
            slug = f"p-{which}"
            remote.create_project(slug)
            push(remote, slug, tree)
            head = remote.head(slug)
            parent = Parent(Lineage(head.lineage), head.version, Digest(head.digest))
            entries = {path: Entry("100644", object_id(text)) for path, text in tree.items()}
            sizes = {path: len(text) for path, text in tree.items()}
            made.append(Project(slug, entries, sizes, parent, paths=list(tree)))
        remote.close()
        return Tenant(key["adminKey"], made)

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, range(tenants)))


class Request:
    """What is sent, and which project it holds until it is answered."""

    __slots__ = ("body", "edit", "head", "project")

    def __init__(self, head: bytes, body: bytes = b"", project: Project | None = None, edit: object = None) -> None:
        self.head, self.body, self.project, self.edit = head, body, project, edit


class Mix:
    """Draws requests; ``run`` makes them at a rate."""

    def __init__(
        self, urls: Sequence[str], tenants: Sequence[Tenant], seed: int = 7, cafile: str | None = None
    ) -> None:
        self.tenants = tenants
        self._places = [urlsplit(url) for url in urls]
        self._tls = ssl.create_default_context(cafile=cafile) if cafile else None
        self._random = random.Random(seed)
        self._words = Writer(4).words[:3_000]
        self._names = [name for name, share in SHARES for _ in range(share)]
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.connections = 0
        self._turn = 0

    def _draw(self, only: str | None) -> tuple[str, Request]:
        what = only or self._random.choice(self._names)
        # A few tenants and projects are asked most, as it is.
        tenant = self.tenants[int(len(self.tenants) * self._random.random() ** 2)]
        project = tenant.projects[int(len(tenant.projects) * self._random.random() ** 2)]
        at = f"/api/v1/projects/{project.slug}"
        path = self._random.choice(project.paths)
        words = " ".join(self._random.sample(self._words, 2))
        if what.startswith("mcp"):
            tool = ("search", {"projects": [project.slug], "query": words})
            if what == "mcp artifact":
                tool = ("artifacts_get", {"project": project.slug, "path": path})
            asked = message(ERA, "tools/call", {"name": tool[0], "arguments": tool[1]})
            return what, self._request("POST", "/mcp", tenant, asked.body or b"", dict(asked.headers))
        if what == "push" and project.busy:
            what = "look"  # one push at a time, as one person makes them
        if what == "push":
            return what, self._push(tenant, project, path, at)
        target = {
            "search": f"{at}/search?q={quote(words)}",
            "artifact": f"{at}/artifacts/{quote(path)}",
            "lines": f"{at}/artifacts/{quote(path)}?first=3&last=9",
            "context": f"{at}/context",
            "look": f"{at}/changes?since={project.parent.version}",
            "keys": "/api/v1/keys",
            "usage": "/api/v1/tenant/usage",
            "audit": "/api/v1/tenant/audit?limit=20",
            "members": "/api/v1/members",
            "projects": "/api/v1/projects",
        }[what]
        kind = {"artifact": "application/octet-stream", "lines": "application/json"}.get(what)
        accept = {"accept": kind} if kind else {}
        return what, self._request("GET", target, tenant, b"", accept)

    def _push(self, tenant: Tenant, project: Project, path: str, at: str) -> Request:
        text = f"# Edited\n\n{' '.join(self._random.sample(self._words, 300))}\n".encode()
        entry = Entry("100644", object_id(text))
        tree = {**project.tree, path: entry}
        after = digest(tree)
        frames = list(make_frames([(entry.object, text)]))
        pieces = [*encode_preamble(project.parent, after, [Sent(path, entry, len(text))]), encode_pack_start()]
        body = b"".join([*pieces, *map(encode_frame, frames), encode_pack_end(len(frames))])
        headers = {"content-type": MEDIA_TYPE, "satchel-declared-bytes": str(len(body))}
        headers["idempotency-key"] = os.urandom(16).hex()
        made = self._request("POST", f"{at}/sync", tenant, body, headers)
        made.project, made.edit = project, tree
        project.busy = True
        return made

    def _request(self, method: str, path: str, tenant: Tenant, body: bytes, headers: dict[str, str]) -> Request:
        lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"authorization: Bearer {tenant.key}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(body)}"] if method != "GET" else []
        return Request("\r\n".join([*lines, "", ""]).encode(), body)

    async def warm(self) -> None:
        """Search each project once, so that its index is there, on each of the servers."""
        requests = [
            self._request("GET", f"/api/v1/projects/{project.slug}/search?q=word", tenant, b"", {})
            for tenant in self.tenants
            for project in tenant.projects
            for _ in self._places
        ]
        for start in range(0, len(requests), 8):
            await asyncio.gather(*map(self._ask, requests[start : start + 8]))

    # Making them ----------------------------------------------------------------------------------------------------

    async def run(self, rate: float, seconds: float, only: str | None = None) -> Measured:
        """Make requests at a rate for a time, of one kind or of all, and wait for the last answers."""
        measured = Measured(rate)
        began = time.perf_counter()
        tasks = set[asyncio.Task[None]]()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            ahead = due - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            task = asyncio.create_task(self._make(due, measured, only))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            if len(tasks) > 2_000:  # it has fallen far behind: nothing more is to be learned
                break
        if tasks:
            await asyncio.wait(tasks, timeout=30)
        measured.seconds = time.perf_counter() - began
        return measured

    async def at_once(self, requests: int, connections: int, only: str | None = None) -> Measured:
        """Make so many requests of one kind, or of all, on so many connections, each at once after the one before."""
        measured, numbers = Measured(0.0), iter(range(requests))

        async def one() -> None:
            for _ in numbers:
                await self._make(time.perf_counter(), measured, only)

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(connections)))
        measured.seconds = time.perf_counter() - began
        return measured

    async def _make(self, due: float, measured: Measured, only: str | None = None) -> None:
        what, request = self._draw(only)
        try:
            status, body = await self._ask(request)
        except (OSError, asyncio.IncompleteReadError):
            status, body = "broken", b""
        finally:
            if request.project is not None:
                request.project.busy = False
        if status == "200" and request.project is not None and isinstance(request.edit, dict):
            told = msgspec.json.decode(body)
            request.project.parent = Parent(Lineage(told["lineage"]), told["version"], Digest(told["digest"]))
            request.project.tree = request.edit
        good = status == "200" and not (what.startswith("mcp") and b'"isError":true' in body)
        measured.statuses[status if good or status != "200" else "mcp error"] += 1
        if good:
            measured.latencies.setdefault(what, []).append((time.perf_counter() - due) * 1_000)

    async def _ask(self, request: Request) -> tuple[str, bytes]:
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():
                break  # the server lets go of a connection that lay idle for 75 seconds
            writer.close()
        else:
            self.connections += 1
            self._turn += 1
            place = self._places[self._turn % len(self._places)]
            reader, writer = await asyncio.open_connection(place.hostname, place.port, ssl=self._tls, limit=2**20)
        writer.write(request.head + request.body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        start = head.index(b"content-length: ") + 16
        body = await reader.readexactly(int(head[start : head.index(b"\r", start)]))
        if b"\r\nconnection: close" in head:
            writer.close()
        else:
            self._free.append((reader, writer))
        return head[9:12].decode(), body

    async def close(self) -> None:
        for _, writer in self._free:
            writer.close()
            await writer.wait_closed()


@dataclass(slots=True)
class Measured:
    """What came back at one rate."""

    rate: float
    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds by kind of request."""

    @property
    def all(self) -> list[float]:
        return sorted(value for values in self.latencies.values() for value in values)

    @property
    def per_second(self) -> float:
        return len(self.all) / self.seconds

    @property
    def failed(self) -> int:
        return self.statuses.total() - self.statuses["200"]
