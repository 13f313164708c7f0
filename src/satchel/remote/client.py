"""Another Satchel over HTTP: the ``Peer`` of a sync and a ``ContextReader``.

Nothing an answer says is believed for its size or its form; see ``connection`` and ``values``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from satchel.errors import FrameRefused, NoSuchVersion, ServerFailed, ServerLied
from satchel.objects.ids import Digest, ObjectId, is_hex_id
from satchel.remote.connection import PACKED, Connection, Json, TokenSource, Traffic, encode
from satchel.remote.values import change_of, committed, head_of, items_of, number, project_info_of, text
from satchel.sync.peer import Change, Changes, Committed, Files, Head

if TYPE_CHECKING:
    from satchel.context.answers import (
        ArtifactList,
        ArtifactText,
        ContextAnswer,
        Health,
        Outline,
        ProjectInfo,
        SearchAnswer,
        TaskList,
        VersionList,
    )
    from satchel.objects.frame import Frame
    from satchel.sync.watch import Told

MAX_ROWS = 1_000_000
"""Rows of all pages of one list together: no tenant has as many."""
MAX_ASKED = 10_000
"""Objects that one question names."""
MAX_DAMAGED = 100_000
"""Lost objects that one sync looks for."""
MAX_CHANGES = 1_000_000
"""Rows of all pages of changes together: more than ten full projects deleted one after another."""


class Remote:
    """One server. For several threads at once."""

    def __init__(self, url: str, tokens: TokenSource, *, insecure: bool = False) -> None:
        """Raises ``ConfigInvalid`` for something that is no address, ``InsecureRemote`` for http:// elsewhere."""
        self._server = Connection(url, tokens, insecure=insecure)
        self.url = self._server.url

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def connect_ahead(self) -> None:
        """Connect in a thread, for a request that is coming."""
        self._server.connect_ahead()

    @property
    def by_key(self) -> bool:
        """Whether it asks with an API key, which speaks for no person."""
        return self._server.by_key

    @property
    def traffic(self) -> Traffic:
        """What went over the wire so far."""
        return self._server.traffic

    def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """One JSON call below ``/api/v1``; an empty answer is ``{}``. Raises the error that the answer names."""
        sent = dict(headers or {})
        if json is not None:
            sent["content-type"] = "application/json"
        # A write that carries an idempotency key may be repeated as well as any read.
        again = method in ("GET", "HEAD", "PUT", "DELETE") or "idempotency-key" in {name.lower() for name in sent}
        body = None if json is None else encode(json)
        return self._server.json(method, path + _query(query), body, sent, again=again)

    def rows(self, path: str, *, limit: int | None = None) -> list[Json]:
        """Every row of a list below ``/api/v1``, ``limit`` at a time.

        Raises ``ServerLied`` where the list does not end: a page without a row, a cursor seen before, ``MAX_ROWS``.
        """
        found: list[Json] = []
        seen: set[str] = set()
        cursor: str | None = None
        while True:
            page = self.call("GET", path, query={"limit": limit, "cursor": cursor})
            items = items_of(page)
            found += items
            cursor = page.get("next")
            if cursor is None:
                return found
            if not isinstance(cursor, str) or cursor in seen or not items or len(found) > MAX_ROWS:
                raise ServerLied(f"the list {path} does not end")
            seen.add(cursor)

    def audit_export(self, after: int) -> Iterator[bytes]:
        """The audit of the tenant after the row of that number, as JSON lines, the last one with ``end``."""
        yield from self._server.chunks("GET", f"/tenant/audit/export?after={after}", None, {}, again=False)

    def export(self) -> Iterator[bytes]:
        """The export of the tenant as it comes; ``exported.ExportCheck`` tells whether it is whole."""
        yield from self._server.chunks("GET", "/tenant/export", None, {"accept": "application/x-tar"}, again=False)

    # Peer ---------------------------------------------------------------------------------------------------------

    def create_project(self, slug: str, *, id: str | None = None, description: str = "") -> Json:  # noqa: A002 - its name in the API
        """Make the hosted twin of a project. Raises ``AlreadyExists``, ``InsufficientScope``, ``QuotaReached``."""
        fields = {"slug": slug, "description": description} | ({"id": id} if id else {})
        return self.call("POST", "/projects", json=fields)

    def project(self, project: str) -> Json:
        """Id, slug, head, role and so on. Raises ``NoSuchProject``."""
        return self.call("GET", f"/projects/{part(project)}")

    def head(self, project: str) -> Head:
        return head_of(self.project(project))

    def changes(self, project: str, since: int, lineage: str | None) -> Changes:
        try:
            found = self._changes(project, since if lineage else 0)
        except NoSuchVersion:
            return self._changes(project, 0)
        if found.since and found.head.lineage != lineage:
            return self._changes(project, 0)
        return found

    def digest_of(self, project: str, version: int) -> Digest | None:
        try:
            found = head_of(self.call("GET", f"/projects/{part(project)}/versions/{version}"))
        except NoSuchVersion:
            return None
        return found.digest if found.version == version else None

    def changes_until(self, project: str, since: int, until: int) -> Changes:
        """What version ``until`` has otherwise than version ``since`` (0: the whole tree); ``head`` is that version.

        Raises ``NoSuchVersion``, ``ServerFailed`` from a server of before, which tells of its head alone.
        """
        found = self._changes(project, since, until)
        if found.head.version != until:
            raise ServerFailed(
                f"{self.url} cannot tell what one version changed", hint="Its operator has to update it first."
            )
        return found

    def _changes(self, project: str, since: int, until: int | None = None) -> Changes:
        items: list[Change] = []
        query: dict[str, object] = {"since": since, "until": until}
        head: Head | None = None
        while True:
            page = self.call(
                "GET", f"/projects/{part(project)}/changes", query=query, headers={"accept-encoding": PACKED}
            )
            if head is not None and head_of(page) != head:
                raise ServerLied("the pages of one list of changes are of different versions")
            head = head_of(page)
            items += [change_of(item) for item in items_of(page)]
            cursor = page.get("next")
            if cursor is None:
                able = [page.get(name) is True for name in ("deltas", "givesDeltas", "givesFiles")]
                return Changes(head, since, items, number(page.get("damaged", 0)), *able)
            if not isinstance(cursor, str) or not page["items"] or len(items) > MAX_CHANGES:
                raise ServerLied("the list of changes does not end")
            query["cursor"] = cursor

    def sync(
        self, project: str, stream: Iterable[bytes], declared: int, key: str, *, allowed: Sequence[str] = ()
    ) -> Committed:
        from satchel.sync.holdback import in_header
        from satchel.sync.wire import MEDIA_TYPE  # here and below: what a sync that finds nothing to do is spared

        headers = {
            "content-type": MEDIA_TYPE,
            "satchel-declared-bytes": str(declared),
            "idempotency-key": key,
        }
        if allowed:
            headers["satchel-secrets-allowed"] = in_header(allowed)
        path = f"/projects/{part(project)}/sync"
        return committed(self._server.json("POST", path, stream, headers, again=isinstance(stream, (list, tuple))))

    def lacking(self, project: str, objects: Sequence[ObjectId]) -> set[ObjectId]:
        found: set[ObjectId] = set()
        path = f"/projects/{part(project)}/objects/query"
        headers = {"content-type": "application/json"}
        for start in range(0, len(objects), MAX_ASKED):
            asked = list(objects[start : start + MAX_ASKED])
            asked_for = set(asked)
            # A POST that changes nothing: it may be asked again.
            page = self._server.json("POST", path, encode({"objects": asked}), headers, again=True)
            missing = page.get("missing")
            if not isinstance(missing, list) or not all(
                isinstance(name, str) and name in asked_for for name in missing
            ):
                raise ServerLied("the server's list of missing objects is malformed")
            found.update(missing)
        return found

    def damaged(self, project: str) -> list[ObjectId]:
        path = f"/projects/{part(project)}/objects/damaged"
        found: list[ObjectId] = []
        cursor: str | None = ""
        while cursor is not None and len(found) < MAX_DAMAGED:
            page = self.call("GET", path, query={"cursor": cursor or None, "limit": 1_000})
            ids = page.get("items")
            if not isinstance(ids, list) or not all(isinstance(name, str) and is_hex_id(name) for name in ids):
                raise ServerLied("the server's list of lost objects is malformed")
            found += [ObjectId(name) for name in ids]
            cursor = page.get("next")
            if cursor is not None and (not ids or cursor != ids[-1]):
                raise ServerLied("the list of lost objects does not end")
        return found

    def give_back(self, project: str, stream: Iterable[bytes], declared: int) -> int:
        from satchel.sync.wire import MEDIA_TYPE

        headers = {"content-type": MEDIA_TYPE, "satchel-declared-bytes": str(declared)}
        path = f"/projects/{part(project)}/packs"
        # Content that came twice is there once, so a list may be sent again.
        kept = self._server.json("POST", path, stream, headers, again=isinstance(stream, (list, tuple)))
        return number(kept.get("restored", 0))

    def read_objects(self, project: str, objects: Sequence[ObjectId], since: int | None = None) -> Iterator[Frame]:
        asked = {"objects": list(objects)} | ({} if since is None else {"since": since})
        return self._read(project, asked, deltas=since is not None)

    def read_files(self, project: str, files: Files) -> Iterator[Frame]:
        return self._read(project, {"objects": [], "files": files._asdict()}, deltas=False)

    def _read(self, project: str, asked: Json, *, deltas: bool) -> Iterator[Frame]:
        from satchel.objects.pack import PackReader

        headers = {"accept": "application/x-satchel-pack", "content-type": "application/json"}
        path = f"/projects/{part(project)}/objects/read"
        reader = PackReader(deltas=deltas)
        try:
            for chunk in self._server.chunks("POST", path, encode(asked), headers, again=True):
                yield from reader.feed(chunk)
            reader.finish()
        except FrameRefused as error:
            raise ServerLied(f"the server sent a bad pack: {error.message}") from error

    # What is told ------------------------------------------------------------------------------------------------

    def events(self, project: str) -> Iterator[Told]:
        """What the hosted project tells, as it comes (docs/spec/wire.md)."""
        from satchel.remote.events import told_in  # for those who watch alone

        path = f"/projects/{part(project)}/events"
        chunks = self._server.chunks("GET", path, None, {"accept": "text/event-stream"}, again=False)
        return told_in(chunks)

    # ContextReader ------------------------------------------------------------------------------------------------

    def projects(self) -> list[ProjectInfo]:
        return [project_info_of(item) for item in self.rows("/projects", limit=1000)]

    def context(self, project: str, *, budget: int = 40_000, tokens: int | None = None) -> ContextAnswer:
        query = {"budget": budget, "tokens": tokens}
        return cast("ContextAnswer", self.call("GET", f"/projects/{part(project)}/context", query=query))

    def artifacts(
        self,
        project: str,
        *,
        kind: str | None = None,
        prefix: str = "",
        text: str = "",
        cursor: str | None = None,
        limit: int = 100,
    ) -> ArtifactList:
        query = {"kind": kind, "prefix": prefix or None, "text": text or None, "cursor": cursor, "limit": limit}
        return cast("ArtifactList", self.call("GET", f"/projects/{part(project)}/artifacts", query=query))

    def artifact(
        self,
        project: str,
        path: str,
        *,
        first: int = 1,
        last: int | None = None,
        section: str | None = None,
        cursor: str | None = None,
        budget: int = 40_000,
        tokens: int | None = None,
        at: int | None = None,
    ) -> ArtifactText:
        query = {
            "first": first, "last": last, "section": section, "cursor": cursor, "budget": budget, "tokens": tokens,
            "at": at,
        }  # fmt: skip
        return cast("ArtifactText", self.call("GET", self._artifact(project, path), query=query))

    def outline(
        self, project: str, path: str, *, cursor: str | None = None, limit: int = 200, at: int | None = None
    ) -> Outline:
        query = {"cursor": cursor, "limit": limit, "at": at}
        address = f"/projects/{part(project)}/outlines/{quote(path, safe='/')}"
        return cast("Outline", self.call("GET", address, query=query))

    def artifact_bytes(self, project: str, path: str, *, at: int | None = None) -> bytes:
        """The content itself, at most 64 MiB. Raises ``NoSuchArtifact``, ``NoSuchVersion``."""
        from satchel.sync.wire import MAX_SIZE

        headers = {"accept": "application/octet-stream, */*;q=0.5"}
        data = bytearray()
        for chunk in self._server.chunks(
            "GET", self._artifact(project, path) + _query({"at": at}), None, headers, again=True
        ):
            data += chunk
            if len(data) > MAX_SIZE:
                raise ServerLied(f"the server's answer is over {MAX_SIZE:,} bytes")
        return bytes(data)

    def put_artifact(
        self, project: str, path: str, data: bytes, replaces: ObjectId | None, *, allow_secret: bool = False
    ) -> Committed:
        """Write one artifact where it is still ``replaces`` (``None``: nothing).

        Raises ``PreconditionFailed``, and without ``allow_secret`` ``SecretRefused``.
        """
        match = {"if-none-match": "*"} if replaces is None else {"if-match": f'"{replaces}"'}
        headers = {**match, "content-type": "application/octet-stream", "idempotency-key": os.urandom(16).hex()}
        if allow_secret:
            headers["satchel-secrets-allowed"] = quote(path)
        return committed(self._server.json("PUT", self._artifact(project, path), data, headers, again=True))

    def search(
        self,
        query: str,
        *,
        projects: list[str] | None = None,
        related: bool = False,
        limit: int = 10,
        offset: int = 0,
        at: str | None = None,
    ) -> SearchAnswer:
        asked: dict[str, object] = {"query": query, "limit": limit, "offset": offset}
        asked |= ({"related": True} if related else {}) | ({} if at is None else {"at": at})
        path = "/search"
        if projects is not None and len(projects) == 1:
            path = f"/projects/{part(projects[0])}/search"
        elif projects is not None:
            asked["projects"] = projects
        # A search is a POST that changes nothing: it may be asked again.
        headers = {"content-type": "application/json"}
        return cast("SearchAnswer", self._server.json("POST", path, encode(asked), headers, again=True))

    def tasks(
        self, project: str, *, done: bool = False, prefix: str = "", cursor: str | None = None, limit: int = 100
    ) -> TaskList:
        query = {"done": "true" if done else None, "prefix": prefix or None, "cursor": cursor, "limit": limit}
        return cast("TaskList", self.call("GET", f"/projects/{part(project)}/tasks", query=query))

    def history(
        self, project: str, *, path: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> VersionList:
        query = {"path": path, "cursor": cursor, "limit": limit}
        return cast("VersionList", self.call("GET", f"/projects/{part(project)}/versions", query=query))

    def health(self) -> Health:
        report = self.call("GET", "/health")
        projects = len(self.projects())
        return {
            "status": text(report.get("status")),
            "version": text(report.get("version")),
            "mode": "cloud",
            "projects": projects,
        }

    def _artifact(self, project: str, path: str) -> str:
        return f"/projects/{part(project)}/artifacts/{quote(path, safe='/')}"


def _query(values: Mapping[str, object] | None) -> str:
    pairs = [f"{name}={quote(str(value), safe='')}" for name, value in (values or {}).items() if value is not None]
    return "?" + "&".join(pairs) if pairs else ""


def part(text: str) -> str:
    """One segment of an address, whatever somebody typed: what is no name of anything leads nowhere else."""
    # A slash is escaped twice: once and a server takes it for the end of the segment.
    return "%2E" * len(text) if text in (".", "..") else quote(text.replace("/", "%2F"), safe="") or "%20"
