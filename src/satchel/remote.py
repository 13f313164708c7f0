"""Another Satchel over HTTP: the ``Peer`` of a sync and a ``ContextReader``, on urllib3 alone.

Nothing an answer says is believed for its size or its form: bodies are bounded and read with a deadline, problems
become the ``SatchelError`` their code names, and whatever is malformed is ``ServerLied``. Redirects are never followed,
so a credential goes to the address it was given for and to no other; ``http://`` is for this machine only, unless
``insecure`` says otherwise. A call is repeated by itself in two cases: once when a kept-alive connection turns out to
be closed, for calls that may be repeated, and once after an expired token was renewed.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import quote, urlsplit

import urllib3

from satchel import __version__
from satchel.errors import (
    ConfigInvalid,
    CredentialExpired,
    CredentialInvalid,
    FrameRefused,
    InsufficientScope,
    NoSuchThing,
    NoSuchVersion,
    Refused,
    SatchelError,
    ServerAway,
    ServerFailed,
    ServerLied,
    TooManyRequests,
    all_leaves,
)
from satchel.objects.frame import Frame
from satchel.objects.ids import Digest, Lineage, ObjectId, is_hex_id
from satchel.objects.listing import MODES, Entry
from satchel.objects.pack import PackReader
from satchel.sync.peer import Change, Changes, Committed, Head
from satchel.sync.wire import MAX_SIZE, MEDIA_TYPE

if TYPE_CHECKING:
    from satchel.context.answers import (
        ArtifactList,
        ArtifactText,
        ContextAnswer,
        Health,
        ProjectInfo,
        SearchAnswer,
        TaskList,
        VersionList,
    )

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
"""The longest silence of a server that is waited out."""
MAX_JSON_BYTES = 64 << 20
"""A page of 10,000 changes with paths of 1,024 bytes, JSON escapes included, is below 40 MiB."""
MAX_CHANGES = 1_000_000
"""Rows of all pages of changes together: more than ten full projects deleted one after another."""
CHUNK_BYTES = 1 << 18

Json = dict[str, Any]
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


class InsecureRemote(Refused):
    code = "remote.insecure"
    default_hint = "Use https://. On a network that you trust with the key, pass --insecure."


class TokenSource(Protocol):
    """Where the bearer token of a call comes from."""

    def token(self) -> str | None:
        """The token to send now."""
        ...

    def renew(self, refused: str | None, exchange: Callable[[str], Json]) -> str | None:
        """Another token after ``refused`` had expired; ``None`` when there is none.

        ``exchange`` trades a refresh token for the server's answer (``accessToken``, ``refreshToken``).
        """
        ...


class FixedToken:
    """An API key, or no credential at all: nothing to renew."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def token(self) -> str | None:
        return self._token

    def renew(self, refused: str | None, exchange: Callable[[str], Json]) -> str | None:
        return None


class Remote:
    """One server. For several threads at once."""

    def __init__(self, url: str, tokens: TokenSource, *, insecure: bool = False) -> None:
        """Raises ``ConfigInvalid`` for something that is no address, ``InsecureRemote`` for http:// elsewhere."""
        self.url = checked_url(url, insecure=insecure)
        self._tokens = tokens
        self._renewing = threading.Lock()
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        self._pool = urllib3.connection_from_url(
            self.url, timeout=timeout, retries=False, maxsize=4, headers={"user-agent": f"satchel/{__version__}"}
        )
        self._prefix = (urlsplit(self.url).path or "").rstrip("/") + "/api/v1"

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

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
        body = None if json is None else _encode(json)
        sent = {"accept": "application/json", **(headers or {})}
        if body is not None:
            sent["content-type"] = "application/json"
        # A write that carries an idempotency key may be repeated as well as any read.
        again = method in ("GET", "HEAD", "PUT", "DELETE") or "idempotency-key" in {name.lower() for name in sent}
        answer = self._ask(method, path + _query(query), body, sent, again=again)
        with _trouble_as_away(self.url), _closing(answer):
            return _json(answer)

    # Peer ---------------------------------------------------------------------------------------------------------

    def create_project(self, slug: str, *, id: str | None = None, description: str = "") -> Json:  # noqa: A002 - its name in the API
        """Make the hosted twin of a project. Raises ``AlreadyExists``, ``InsufficientScope``, ``QuotaReached``."""
        fields = {"slug": slug, "description": description} | ({"id": id} if id else {})
        return self.call("POST", "/projects", json=fields)

    def project(self, project: str) -> Json:
        """Id, slug, head, role and so on. Raises ``NoSuchProject``."""
        return self.call("GET", f"/projects/{_part(project)}")

    def head(self, project: str) -> Head:
        return _head(self.project(project))

    def changes(self, project: str, since: int, lineage: str | None) -> Changes:
        try:
            found = self._changes(project, since if lineage else 0)
        except NoSuchVersion:
            return self._changes(project, 0)
        if found.since and found.head.lineage != lineage:
            return self._changes(project, 0)
        return found

    def _changes(self, project: str, since: int) -> Changes:
        items: list[Change] = []
        query: dict[str, object] = {"since": since}
        head: Head | None = None
        while True:
            page = self.call("GET", f"/projects/{_part(project)}/changes", query=query)
            if head is not None and _head(page) != head:
                raise ServerLied("the pages of one list of changes are of different versions")
            head = _head(page)
            items += [_change(item) for item in _items(page)]
            cursor = page.get("next")
            if cursor is None:
                return Changes(head, since, items)
            if not isinstance(cursor, str) or not page["items"] or len(items) > MAX_CHANGES:
                raise ServerLied("the list of changes does not end")
            query["cursor"] = cursor

    def sync(self, project: str, stream: Iterable[bytes], declared: int, key: str) -> Committed:
        headers = {
            "accept": "application/json",
            "content-type": MEDIA_TYPE,
            "satchel-declared-bytes": str(declared),
            "idempotency-key": key,
        }
        path = f"/projects/{_part(project)}/sync"
        answer = self._ask("POST", path, stream, headers, again=isinstance(stream, (list, tuple)))
        with _trouble_as_away(self.url), _closing(answer):
            return committed(_json(answer))

    def read_objects(self, project: str, objects: Sequence[ObjectId]) -> Iterator[Frame]:
        headers = {"accept": "application/x-satchel-pack", "content-type": "application/json"}
        path = f"/projects/{_part(project)}/objects/read"
        answer = self._ask("POST", path, _encode({"objects": list(objects)}), headers, again=True)
        reader = PackReader()
        with _trouble_as_away(self.url), _closing(answer):
            for chunk in answer.stream(CHUNK_BYTES):
                yield from reader.feed(chunk)
            reader.finish()

    # ContextReader ------------------------------------------------------------------------------------------------

    def projects(self) -> list[ProjectInfo]:
        found: list[ProjectInfo] = []
        query: dict[str, object] = {"limit": 1000}
        while True:
            page = self.call("GET", "/projects", query=query)
            found += [_project_info(item) for item in _items(page)]
            if page.get("next") is None or not page["items"]:
                return found
            query["cursor"] = page["next"]

    def context(self, project: str) -> ContextAnswer:
        return cast("ContextAnswer", self.call("GET", f"/projects/{_part(project)}/context"))

    def artifacts(
        self, project: str, *, kind: str | None = None, prefix: str = "", cursor: str | None = None, limit: int = 100
    ) -> ArtifactList:
        query = {"kind": kind, "prefix": prefix or None, "cursor": cursor, "limit": limit}
        return cast("ArtifactList", self.call("GET", f"/projects/{_part(project)}/artifacts", query=query))

    def artifact(
        self,
        project: str,
        path: str,
        *,
        first: int = 1,
        last: int | None = None,
        budget: int = 40_000,
        at: int | None = None,
    ) -> ArtifactText:
        query = {"first": first, "last": last, "budget": budget, "at": at}
        return cast("ArtifactText", self.call("GET", self._artifact(project, path), query=query))

    def artifact_bytes(self, project: str, path: str, *, at: int | None = None) -> bytes:
        """The content itself, at most 64 MiB. Raises ``NoSuchArtifact``, ``NoSuchVersion``."""
        headers = {"accept": "application/octet-stream, */*;q=0.5"}
        answer = self._ask("GET", self._artifact(project, path) + _query({"at": at}), None, headers, again=True)
        with _trouble_as_away(self.url), _closing(answer):
            return _bounded(answer, MAX_SIZE)

    def search(
        self, query: str, *, projects: list[str] | None = None, limit: int = 10, offset: int = 0
    ) -> SearchAnswer:
        asked: dict[str, object] = {"query": query, "limit": limit, "offset": offset}
        path = "/search"
        if projects is not None and len(projects) == 1:
            path = f"/projects/{_part(projects[0])}/search"
        elif projects is not None:
            asked["projects"] = projects
        # A search is a POST that changes nothing: it may be asked again.
        answer = self._ask(
            "POST",
            path,
            _encode(asked),
            {"accept": "application/json", "content-type": "application/json"},
            again=True,
        )
        with _trouble_as_away(self.url), _closing(answer):
            return cast("SearchAnswer", _json(answer))

    def tasks(
        self, project: str, *, done: bool = False, prefix: str = "", cursor: str | None = None, limit: int = 100
    ) -> TaskList:
        query = {"done": "true" if done else None, "prefix": prefix or None, "cursor": cursor, "limit": limit}
        return cast("TaskList", self.call("GET", f"/projects/{_part(project)}/tasks", query=query))

    def history(self, project: str, *, cursor: str | None = None, limit: int = 50) -> VersionList:
        query = {"cursor": cursor, "limit": limit}
        return cast("VersionList", self.call("GET", f"/projects/{_part(project)}/versions", query=query))

    def health(self) -> Health:
        report = self.call("GET", "/health")
        projects = len(self.projects())
        return {
            "status": _text(report.get("status")),
            "version": _text(report.get("version")),
            "mode": "cloud",
            "projects": projects,
        }

    # One request --------------------------------------------------------------------------------------------------

    def _artifact(self, project: str, path: str) -> str:
        return f"/projects/{_part(project)}/artifacts/{quote(path, safe='/')}"

    def _ask(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str], *, again: bool
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; the answer is a success whose body is still to be read."""
        token = self._tokens.token()
        answer = self._send(method, path, body, headers, token, again=again)
        if answer.status < 300:
            return answer
        error = self._error(answer)
        # A stream is spent once sent; an expired token is refused before the server reads it, but it is gone here.
        if isinstance(error, CredentialExpired) and (body is None or isinstance(body, (bytes, list, tuple))):
            fresh = self._renewed(token)
            if fresh is not None:
                answer = self._send(method, path, body, headers, fresh, again=again)
                if answer.status < 300:
                    return answer
                error = self._error(answer)
        raise error

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
        token: str | None,
        *,
        again: bool,
    ) -> urllib3.BaseHTTPResponse:
        sent = {**self._pool.headers, **headers}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        with _trouble_as_away(self.url):
            for last in (not again, True):
                try:
                    return self._pool.urlopen(
                        method,
                        self._prefix + path,
                        body=body,
                        headers=sent,
                        redirect=False,
                        preload_content=False,
                        chunked=body is not None and not isinstance(body, bytes),
                        assert_same_host=False,
                    )
                except urllib3.exceptions.ProtocolError:
                    if last:
                        raise
        raise AssertionError("the last attempt returns or raises")

    def _renewed(self, refused: str | None) -> str | None:
        with self._renewing:
            current = self._tokens.token()
            if current != refused:
                return current  # another thread was faster
            return self._tokens.renew(refused, self._exchange)

    def _exchange(self, refresh_token: str) -> Json:
        body = _encode({"refreshToken": refresh_token})
        headers = {"accept": "application/json", "content-type": "application/json"}
        answer = self._send("POST", "/auth/refresh", body, headers, None, again=False)
        if answer.status >= 300:
            raise self._error(answer)
        with _trouble_as_away(self.url), _closing(answer):
            return _json(answer)

    def _error(self, answer: urllib3.BaseHTTPResponse) -> SatchelError:
        with _trouble_as_away(self.url), _closing(answer):
            if 300 <= answer.status < 400:
                return ConfigInvalid(
                    f"{self.url} answers with a redirect to {answer.headers.get('location', 'nowhere')[:200]}",
                    hint="Redirects are not followed: set the remote to the address that answers itself.",
                )
            try:
                problem = _json(answer)
            except ServerLied:
                problem = {}
            return problem_error(answer.status, problem, answer.headers.get("retry-after"))


def checked_url(url: str, *, insecure: bool = False) -> str:
    """``url`` without a slash at its end. Raises ``ConfigInvalid`` or ``InsecureRemote``."""
    try:
        parts = urlsplit(url)
        port_is_number = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ConfigInvalid(f"{url!r} is not the address of a server") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_number:
        raise ConfigInvalid(f"{url!r} is not the address of a server", hint="Give it as https://host[:port].")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigInvalid("the address of a server holds no credential, query or fragment")
    local = parts.hostname in ("localhost", "::1") or parts.hostname.startswith("127.")
    if parts.scheme == "http" and not local and not insecure:
        raise InsecureRemote(f"{url} would send the credential and the content in clear")
    return url.rstrip("/")


def problem_error(status: int, problem: Mapping[str, object], retry_after: str | None = None) -> SatchelError:
    """The error that a problem document stands for; from the status alone where its code is not known here."""
    code, said = problem.get("code"), problem.get("detail")
    kind = next((leaf for leaf in all_leaves() if leaf.code == code), None) or _kind_of(status)
    message = said if isinstance(said, str) and said else f"the server answered {status}"
    hint = problem.get("hint")
    shown = {"type", "title", "status", "code", "detail", "hint"}
    facts = {_snake(name): value for name, value in problem.items() if name not in shown}
    if retry_after is not None:
        facts["retry_after"] = retry_after
    for name in ("message", "hint"):
        facts.pop(name, None)
    return kind(message, hint=hint if isinstance(hint, str) else None, **facts)


def _kind_of(status: int) -> type[SatchelError]:
    kinds: dict[int, type[SatchelError]] = {
        401: CredentialInvalid,
        403: InsufficientScope,
        404: NoSuchThing,
        429: TooManyRequests,
    }
    return kinds.get(status, ServerFailed)


def committed(answer: Json) -> Committed:
    """The answer to a write. Raises ``ServerLied``."""
    counts = [_number(answer.get(name)) for name in ("added", "changed", "deleted")]
    head = _head(answer)
    return Committed(*head, _time(answer.get("time")), _text(answer.get("author")), *counts)


def _head(answer: Json) -> Head:
    lineage, digest = _text(answer.get("lineage")), _text(answer.get("digest"))
    if not is_hex_id(digest) or not 1 <= len(lineage) <= 64:
        raise ServerLied("the head named by the server is malformed")
    return Head(Lineage(lineage), _number(answer.get("version")), Digest(digest))


def _change(item: Json) -> Change:
    entry, size = None, 0
    if not item.get("deleted"):
        mode, name = _text(item.get("mode")), _text(item.get("object"))
        if mode not in MODES or not is_hex_id(name):
            raise ServerLied("an entry of the changes is malformed")
        entry, size = Entry(mode, ObjectId(name)), _number(item.get("size"))
    path, version = _text(item.get("path")), _number(item.get("version"))
    return Change(path, entry, size, version, _text(item.get("author")), _time(item.get("time")))


def _project_info(item: Json) -> ProjectInfo:
    return {
        "id": item["id"],
        "project": item["slug"],
        "description": item["description"],
        "relations": item["relations"],
        "version": item["version"],
        "digest": item["digest"],
    }


def _items(page: Json) -> list[Json]:
    items = page.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ServerLied("a list of the server has no items")
    return items


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ServerLied("the server's answer lacks a text it must have")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ServerLied("the server's answer lacks a number it must have")
    return value


def _time(value: object) -> int:
    try:
        # Never a float of seconds: it would lose the millisecond now and then.
        since = dt.datetime.fromisoformat(_text(value)) - _EPOCH
    except (ValueError, TypeError) as error:
        raise ServerLied("a time in the server's answer is malformed") from error
    return since // dt.timedelta(milliseconds=1)


def _encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _json(answer: urllib3.BaseHTTPResponse) -> Json:
    data = _bounded(answer, MAX_JSON_BYTES)
    if not data and answer.status == 204:
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ServerLied(
            "the server's answer is not JSON", hint="Is there a Satchel server at this address?"
        ) from error
    if not isinstance(value, dict):
        raise ServerLied("the server's answer is not a JSON object")
    return value


def _bounded(answer: urllib3.BaseHTTPResponse, limit: int) -> bytes:
    parts, length = [], 0
    for chunk in answer.stream(CHUNK_BYTES, decode_content=True):
        length += len(chunk)
        if length > limit:
            raise ServerLied(f"the server's answer is over {limit:,} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _query(values: Mapping[str, object] | None) -> str:
    pairs = [f"{name}={quote(str(value), safe='')}" for name, value in (values or {}).items() if value is not None]
    return "?" + "&".join(pairs) if pairs else ""


def _part(text: str) -> str:
    """One segment of an address; a project is named by slug or id, neither of which needs quoting."""
    return quote(text, safe="") or "%20"


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


class _closing:  # noqa: N801 - reads as the word it is
    """Give the connection back if the answer was read to its end, else close it."""

    def __init__(self, answer: urllib3.BaseHTTPResponse) -> None:
        self._answer = answer

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._answer.drain_conn()
        else:
            self._answer.close()
        self._answer.release_conn()


class _trouble_as_away:  # noqa: N801 - reads as the phrase it is
    """Tell a server that is away, or broke off, from one that answered; a bad frame from either is a lie."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        match error:
            case urllib3.exceptions.SSLError():
                raise ServerAway(
                    f"no trusted connection to {self._url}: {error}",
                    hint="Its certificate does not count here: check the address, the date and the certificate.",
                ) from error
            case urllib3.exceptions.TimeoutError():
                raise ServerAway(f"{self._url} did not answer in time") from error
            case urllib3.exceptions.NewConnectionError():
                raise ServerAway(f"{self._url} cannot be reached") from error
            case urllib3.exceptions.HTTPError() | ConnectionError():
                raise ServerAway(f"the connection to {self._url} broke off") from error
            case FrameRefused():
                raise ServerLied(f"the server sent a bad frame: {error.message}") from error
