"""One server over HTTP: requests with a credential, bounded answers, and errors that have a name.

Redirects are never followed, so a credential goes to the address it was given for and to no other; ``http://`` is for
this machine only, unless ``insecure`` says otherwise. A request is repeated by itself in two cases: once when a
kept-alive connection turns out to be closed, where it may be repeated, and once after an expired token was renewed. A
token that is about to end is renewed before a stream, which can be sent once.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn, Protocol
from urllib.parse import urlsplit

from satchel import __version__
from satchel.errors import (
    ConfigInvalid,
    CredentialExpired,
    CredentialInvalid,
    InsufficientScope,
    NoSuchThing,
    Refused,
    SatchelError,
    ServerAway,
    ServerFailed,
    ServerLied,
    TooManyRequests,
    all_leaves,
)
from satchel.remote.http import Answer, Broken, Pool, Silent, Trouble, Unreachable, Untrusted
from satchel.remote.http import Body as Body
from satchel.sync import protocol

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
"""The longest silence of a server that is waited out."""
KEPT = 4
"""Connections that wait for further use."""
MAX_JSON_BYTES = 64 << 20
"""A page of 10,000 changes with paths of 1,024 bytes, JSON escapes included, is below 40 MiB."""
CHUNK_BYTES = 1 << 18
PACKED = "zstd"
"""How a long list may come where ``accept-encoding`` asks for it."""
AHEAD_SECONDS = 60
"""A token that ends within this is renewed before a stream is sent, which could not be sent again."""
AGAIN_SECONDS = 1
"""The fact ``retry_after`` of a server that may be back soon: what waits for it is ``sync.patience``."""

Json = dict[str, Any]


class InsecureRemote(Refused):
    code = "remote.insecure"
    default_hint = "Use https://. On a network that you trust, `login`, `join` and `admin prove` take --insecure."


_KEY = "stl_live_"  # what every API key begins with (docs/spec/credentials.md)


class Traffic(NamedTuple):
    """Requests, and their bytes as HTTP has them: heads and bodies, without what TLS and TCP put around them."""

    requests: int = 0
    sent: int = 0
    received: int = 0


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


class Connection:
    """Requests to one server, below ``/api/v1``. For several threads at once."""

    def __init__(self, url: str, tokens: TokenSource, *, insecure: bool = False) -> None:
        """Raises ``ConfigInvalid`` for something that is no address, ``InsecureRemote`` for http:// elsewhere."""
        self.url = checked_url(url, insecure=insecure)
        self._tokens = tokens
        self._renewing = threading.Lock()
        self._pool = Pool(
            self.url,
            connect=CONNECT_SECONDS,
            silence=READ_SECONDS,
            keep=KEPT,
            sent=lambda count: self._count(sent=count),
        )
        self._prefix = (urlsplit(self.url).path or "").rstrip("/") + "/api/v1"
        self._connecting: threading.Thread | None = None
        self._counting = threading.Lock()
        self.traffic = Traffic()

    def close(self) -> None:
        """Close the connections."""
        self._connected()
        self._pool.close()

    @property
    def by_key(self) -> bool:
        """Whether what it shows is an API key."""
        return (self._tokens.token() or "").startswith(_KEY)

    def connect_ahead(self) -> None:
        """Connect in a thread: a handshake takes one to three round trips, and there is work to do meanwhile."""

        def connect() -> None:
            with suppress(Exception):  # whoever asks meets the same, and says so
                self._pool.connect()

        self._connecting = threading.Thread(target=connect, name="satchel-connect", daemon=True)
        self._connecting.start()

    def _connected(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.join()

    def _count(self, *, requests: int = 0, sent: int = 0, received: int = 0) -> None:
        with self._counting:
            so_far = self.traffic
            self.traffic = Traffic(so_far.requests + requests, so_far.sent + sent, so_far.received + received)

    def json(self, method: str, path: str, body: Body, headers: Mapping[str, str], *, again: bool) -> Json:
        """The JSON object of an answer; ``{}`` of an empty one. ``again``: whether it may be sent twice."""
        answer = self._ask(method, path, body, {"accept": "application/json", **headers}, again=again)
        with trouble_as_away(self.url), self._closing(answer):
            return _json(answer)

    def chunks(self, method: str, path: str, body: Body, headers: Mapping[str, str], *, again: bool) -> Iterator[bytes]:
        """The body of an answer as it comes."""
        answer = self._ask(method, path, body, headers, again=again)
        with trouble_as_away(self.url), self._closing(answer):
            yield from answer.chunks(CHUNK_BYTES)

    def _ask(self, method: str, path: str, body: Body, headers: Mapping[str, str], *, again: bool) -> Answer:
        """Send a request; the answer is a success whose body is still to be read."""
        token = self._tokens.token()
        repeatable = body is None or isinstance(body, (bytes, list, tuple))
        if token is not None and not repeatable and _ends_soon(token):
            with suppress(SatchelError):  # then the server says what is wrong
                token = self._renewed(token) or token
        answer = self._send(method, path, body, headers, token, again=again)
        if answer.status < 300:
            return self._understood(answer)
        error = self._error(answer)
        # A stream is spent once sent; an expired token is refused before the server reads it, but it is gone here.
        if isinstance(error, CredentialExpired) and repeatable:
            fresh = self._renewed(token)
            if fresh is not None:
                answer = self._send(method, path, body, headers, fresh, again=again)
                if answer.status < 300:
                    return self._understood(answer)
                error = self._error(answer)
        raise error

    def _send(
        self,
        method: str,
        path: str,
        body: Body,
        headers: Mapping[str, str],
        token: str | None,
        *,
        again: bool,
    ) -> Answer:
        sent = [("user-agent", f"satchel/{__version__}"), (protocol.HEADER, str(protocol.OWN)), *headers.items()]
        if token is not None:
            if not re.fullmatch(r"[!-~]+", token):
                # What would refuse it as a header names the whole of it, and so would a traceback.
                raise CredentialInvalid("the credential holds a character that none has")
            sent.append(("authorization", f"Bearer {token}"))
        self._connected()
        with trouble_as_away(self.url):
            for last in (not again, True):
                self._count(requests=1)
                try:
                    return self._pool.ask(method, self._prefix + path, body, sent)
                except Broken:
                    if last:
                        raise
        raise AssertionError("the last attempt returns or raises")

    def _understood(self, answer: Answer) -> Answer:
        try:
            protocol.expect(answer.headers.get(protocol.HEADER))
        except SatchelError:
            answer.close()
            raise
        return answer

    def _closing(self, answer: Answer) -> _closing:
        return _closing(answer, lambda count: self._count(received=count))

    def _renewed(self, refused: str | None) -> str | None:
        with self._renewing:
            current = self._tokens.token()
            if current != refused:
                return current  # another thread was faster
            return self._tokens.renew(refused, self._exchange)

    def _exchange(self, refresh_token: str) -> Json:
        body = encode({"refreshToken": refresh_token})
        headers = {"accept": "application/json", "content-type": "application/json"}
        answer = self._send("POST", "/auth/refresh", body, headers, None, again=False)
        if answer.status >= 300:
            raise self._error(answer)
        with trouble_as_away(self.url), self._closing(answer):
            return _json(answer)

    def _error(self, answer: Answer) -> SatchelError:
        with trouble_as_away(self.url), self._closing(answer):
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


_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,252}[a-z0-9.])?|[0-9a-f:.]+(?:%[a-z0-9]+)?")
LOOPBACK = re.compile(r"localhost|::1|127(?:\.[0-9]{1,3}){3}")
"""``127.example.org`` is a name like any other."""
_CODE = re.compile(r"[a-z_]{1,32}\.[a-z_]{1,32}")


def checked_url(url: str, *, insecure: bool = False) -> str:
    """``url`` without a slash at its end. Raises ``ConfigInvalid`` or ``InsecureRemote``."""
    try:
        parts = urlsplit(url)
        port_is_number = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ConfigInvalid(f"{url!r} is not the address of a server") from error
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or not port_is_number:
        raise ConfigInvalid(f"{url!r} is not the address of a server", hint="Give it as https://host[:port].")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigInvalid("the address of a server holds no credential, query or fragment")
    if parts.scheme == "http" and not LOOPBACK.fullmatch(host) and not insecure:
        raise InsecureRemote(f"{url} would send the credential and the content in clear")
    return url.rstrip("/")


def problem_error(status: int, problem: Mapping[str, object], retry_after: str | None = None) -> SatchelError:
    """The error that a problem document stands for; where its code is not known here it keeps the code, and is of the
    kind that the status tells."""
    code, said = problem.get("code"), problem.get("detail")
    kind = next((leaf for leaf in all_leaves() if leaf.code == code), None) or _kind_of(status)
    message = said if isinstance(said, str) and said else f"the server answered {status}"
    hint = problem.get("hint")
    shown = {"type", "title", "status", "code", "detail", "hint"}
    facts = {_snake(name): value for name, value in problem.items() if name not in shown}
    if retry_after is not None:
        facts["retry_after"] = retry_after
    for name in ("self", "message", "hint"):
        facts.pop(name, None)
    error = kind(message, hint=hint if isinstance(hint, str) else None, **facts)
    if isinstance(code, str) and _CODE.fullmatch(code):
        error.code = code
    return error


def _kind_of(status: int) -> type[SatchelError]:
    kinds: dict[int, type[SatchelError]] = {
        401: CredentialInvalid,
        403: InsufficientScope,
        404: NoSuchThing,
        429: TooManyRequests,
    }
    return kinds.get(status, ServerFailed)


def _ends_soon(token: str) -> bool:
    """Whether a token says that it ends before a stream could be sent with it; an API key says nothing of that kind."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return bool(claims["exp"] < time.time() + AHEAD_SECONDS)
    except (IndexError, ValueError, KeyError, TypeError):
        return False


def encode(value: object) -> bytes:
    """A JSON body."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Answered(Json):
    """An object in an answer: a key that a server left out is no defect of whoever reads it."""

    __slots__ = ()

    def __missing__(self, name: str) -> NoReturn:
        raise ServerLied(
            f"the server's answer lacks {name!r}, which the protocol has there",
            hint="Check the address, and that client and server are up to date; then tell whoever runs the server.",
        )


def _json(answer: Answer) -> Json:
    data = _unpacked(answer, _bounded(answer, MAX_JSON_BYTES))
    if not data and answer.status == 204:
        return {}
    try:
        value = json.loads(data, object_hook=Answered)
    except (ValueError, RecursionError) as error:
        raise ServerLied(
            "the server's answer is not JSON", hint="Is there a Satchel server at this address?"
        ) from error
    if not isinstance(value, dict):
        raise ServerLied("the server's answer is not a JSON object")
    return value


def _unpacked(answer: Answer, data: bytes) -> bytes:
    """The content of an answer as it came: packed only where that was asked for, and no larger then."""
    packing = answer.headers.get("content-encoding")
    if packing in (None, "identity"):
        return data
    from satchel.objects import zstd  # most answers are short, and come as they are

    unpacked, unpacker = b"", zstd.ZstdDecompressor()
    with suppress(zstd.ZstdError):
        unpacked = unpacker.decompress(data, max_length=MAX_JSON_BYTES + 1)
    if packing != PACKED or len(unpacked) > MAX_JSON_BYTES or not unpacker.eof or unpacker.unused_data:
        raise ServerLied("the server's answer cannot be unpacked")
    return unpacked


def _bounded(answer: Answer, limit: int) -> bytes:
    parts, length = [], 0
    for chunk in answer.chunks(CHUNK_BYTES):
        length += len(chunk)
        if length > limit:
            raise ServerLied(f"the server's answer is over {limit:,} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


class _closing:  # noqa: N801 - reads as the word it is
    """Close an answer, and tell how many bytes it had."""

    def __init__(self, answer: Answer, count: Callable[[int], None]) -> None:
        self._answer, self._count = answer, count

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._answer.close()
        head = sum(len(name) + len(value) + len(": \r\n") for name, value in self._answer.pairs())
        self._count(head + len("HTTP/1.1 200 OK\r\n\r\n") + self._answer.read)


class trouble_as_away:  # noqa: N801 - reads as the phrase it is
    """Tell a server that is away, or broke off, from one that answered."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        match error:
            case Untrusted():
                raise ServerAway(
                    f"no trusted connection to {self._url}: {error}",
                    hint="Its certificate does not count here: check the address, the date and the certificate.",
                ) from error
            case Unreachable(refused=True):  # a server that restarts; a name without an address is no server at all
                raise ServerAway(f"{self._url} cannot be reached", retry_after=AGAIN_SECONDS) from error
            case Unreachable():
                raise ServerAway(f"{self._url} cannot be reached") from error
            case Silent():
                raise ServerAway(f"{self._url} did not answer in time", retry_after=AGAIN_SECONDS) from error
            case Trouble():
                raise ServerAway(f"the connection to {self._url} broke off", retry_after=AGAIN_SECONDS) from error
