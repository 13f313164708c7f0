"""An MCP server over Streamable HTTP: each message is one POST, and what comes back is passed on as it comes.

Both eras of the protocol pass: messages are not looked into beyond what the transport itself needs, which is the name
of the method, the version, and the id of the session where the server has sessions. What a server would say between
answers, on a stream of its own, is not asked for; ``subscriptions/listen`` of 2026-07-28 is an answer like any other.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

from satchel import __version__
from satchel.errors import ConfigInvalid, CredentialInvalid, InsufficientScope, SatchelError, ServerFailed, ServerLied
from satchel.remote.connection import CHUNK_BYTES, CONNECT_SECONDS, checked_url, problem_error, trouble_as_away
from satchel.remote.discovery import Challenge, challenge_in, object_in
from satchel.remote.http import Answer, Broken, Pool

SILENCE_SECONDS = 300.0
"""The longest silence of a server that is waited out: tools may take their time."""
MAX_ANSWER_BYTES = 16 << 20
MAX_TRIES = 4
"""How often one message is sent: first, with a token, with one renewed or newly asked for, with more scope."""
CONNECTIONS = 32
_VERSION = "io.modelcontextprotocol/protocolVersion"
_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_NAMED_BY |= dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId")

Json = dict[str, Any]


class Tokens(Protocol):
    """Where the bearer token of a message comes from."""

    def token(self) -> str | None:
        """The one to send now, if there is one yet."""
        ...

    def another(self, refused: str | None, status: int, challenge: Challenge) -> str | None:
        """One in place of ``refused``, which the server answered with ``status``; ``None``: there is none better."""
        ...


class Call:
    """A message under way, which another thread can give up: nothing more comes of it, and closing the connection tells
    a server of 2026-07-28 so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answer: Answer | None = None
        self.given_up = False

    def give_up(self) -> None:
        with self._lock:
            self.given_up = True
            if self._answer is not None:
                self._answer.cut()

    @contextmanager
    def reading(self, answer: Answer) -> Iterator[None]:
        """While the answer is read."""
        with self._lock:
            self._answer = answer
            if self.given_up:
                answer.cut()
        try:
            yield
        finally:
            with self._lock:  # from now on the connection may serve another call
                self._answer = None


class McpServer:
    """One server. For several threads at once."""

    def __init__(self, url: str, tokens: Tokens) -> None:
        """Raises ``ConfigInvalid`` for something that is no address, ``InsecureRemote`` for http:// elsewhere."""
        self.url = checked_url(url)
        self._tokens = tokens
        self._pool = Pool(self.url, connect=CONNECT_SECONDS, silence=SILENCE_SECONDS, keep=CONNECTIONS)
        self._path = urlsplit(self.url).path or "/"
        self._lock = threading.Lock()
        self._session: str | None = None
        self._version: str | None = None

    def close(self) -> None:
        """End the session where the server has sessions, and the connections."""
        if self._session is not None:
            try:
                self._once("DELETE", None, self._headers({}), self._tokens.token(), again=False).close()
            except SatchelError:
                pass  # it ends by itself
        self._pool.close()

    def send(self, message: Json, deliver: Callable[[Json], None], call: Call) -> None:
        """Send one message; every message that the server answers with goes to ``deliver``.

        Raises an error in place of an answer that did not come.
        """
        try:
            if not call.given_up:
                self._send(message, deliver, call)
        except SatchelError:
            if not call.given_up:
                raise

    def _send(self, message: Json, deliver: Callable[[Json], None], call: Call) -> None:
        answer = self._answer(message)
        wanted = message.get("id") if "method" in message else None
        answered = wanted is None
        with trouble_as_away(self.url), answer, call.reading(answer):
            for said in _messages(answer):
                if call.given_up:
                    return
                if answer.status >= 400 and said.get("id") is None:
                    if wanted is None:
                        continue  # of what nobody waits for an answer to
                    said["id"] = wanted  # an error of a message that was not read as far as its id
                if message.get("method") == "initialize" and "result" in said:
                    self._agreed(said, answer)
                answered = answered or (said.get("id") == wanted and "method" not in said)
                deliver(said)
        if not answered:
            raise ServerFailed(f"{self.url} ended its answer before it was whole")

    def _answer(self, message: Json) -> Answer:
        body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        headers = self._headers(message)
        token, tries = self._tokens.token(), 0
        while True:
            answer = self._once("POST", body, headers, token, again=message.get("method") != "tools/call")
            if answer.status not in (401, 403):
                return self._accepted(answer)
            challenge = challenge_in(answer.pairs())
            problem = self._problem(answer)
            tries += 1
            fresh = self._tokens.another(token, answer.status, challenge) if tries < MAX_TRIES else None
            if fresh is None:
                break
            token = fresh
        if problem is not None:
            raise problem
        if answer.status == 403:
            lacks = f" It asks for: {challenge.scope[:300]}" if challenge.scope else ""
            raise InsufficientScope(f"{self.url} does not allow this.{lacks}")
        raise CredentialInvalid(f"{self.url} does not take the token it was given")

    def _accepted(self, answer: Answer) -> Answer:
        if answer.status < 300 or (answer.status >= 400 and _kind(answer) == "application/json"):
            return answer  # an error of the protocol comes with a status of HTTP, and in an answer of the protocol
        if answer.status < 400:
            answer.close()
            raise ConfigInvalid(
                f"{self.url} answers with a redirect to {answer.headers.get('location', 'nowhere')[:200]}",
                hint="Redirects are not followed: start the bridge with the address that answers itself.",
            )
        problem = self._problem(answer)
        if problem is not None:
            raise problem
        if answer.status == 404 and self._session is not None:
            raise ServerFailed(f"{self.url} has ended the session: start the agent's connection anew")
        raise ServerFailed(f"{self.url} answered {answer.status}")

    def _problem(self, answer: Answer) -> SatchelError | None:
        """Why a message is not taken, if the server says so in a problem document; its answer is read to the end."""
        with trouble_as_away(self.url), answer:
            body = b"".join(_bounded(answer.chunks(CHUNK_BYTES)))
        about = object_in(body) if _kind(answer) == "application/problem+json" else {}
        return problem_error(answer.status, about, answer.headers.get("retry-after")) if about else None

    def _headers(self, message: Mapping[str, Any]) -> dict[str, str]:
        headers = {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "user-agent": f"satchel/{__version__}",
        }
        params = message.get("params")
        given = params if isinstance(params, dict) else {}
        meta = given.get("_meta")
        version = meta.get(_VERSION) if isinstance(meta, dict) else None
        method = message.get("method")
        with self._lock:
            if method != "initialize":
                headers |= {
                    name: value
                    for name, value in (
                        ("mcp-session-id", self._session),
                        ("mcp-protocol-version", version if isinstance(version, str) else self._version),
                    )
                    if value is not None
                }
        if isinstance(method, str):
            headers["mcp-method"] = _header(method)
            name = given.get(_NAMED_BY.get(method, ""))
            if isinstance(name, str):
                headers["mcp-name"] = _header(name)
        return headers

    def _agreed(self, said: Json, answer: Answer) -> None:
        result = said["result"]
        version = result.get("protocolVersion") if isinstance(result, dict) else None
        session = answer.headers.get("mcp-session-id")
        with self._lock:
            self._version = version if isinstance(version, str) and re.fullmatch(r"[!-~]{1,64}", version) else None
            self._session = session if session and re.fullmatch(r"[!-~]{1,1024}", session) else None

    def _once(
        self, method: str, body: bytes | None, headers: Mapping[str, str], token: str | None, *, again: bool
    ) -> Answer:
        """``again``: whether it may be sent twice, where a kept connection turns out to be closed."""
        sent = [*headers.items(), *([("authorization", f"Bearer {token}")] if token is not None else [])]
        with trouble_as_away(self.url):
            for last in (not again, True):
                try:
                    return self._pool.ask(method, self._path, body, sent)
                except Broken:
                    if last:
                        raise
        raise AssertionError("the last attempt returns or raises")


def _kind(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _header(text: str) -> str:
    """A value as a header may hold it (SEP-2243): plain, or its UTF-8 as base64 between marks."""
    plain = re.fullmatch(r"[!-~](?:[ -~]*[!-~])?", text) and not re.fullmatch(r"=\?base64\?.*\?=", text)
    return text if plain else f"=?base64?{base64.b64encode(text.encode('utf-8', 'replace')).decode()}?="


def _messages(answer: Answer) -> Iterator[Json]:
    """What an answer holds: one message, several in a list, or a stream of events; nothing where it was only taken."""
    kind = _kind(answer)
    if kind == "text/event-stream":
        for data in _events(answer.chunks(CHUNK_BYTES)):
            yield from _parsed(data) if data else ()  # an empty one only names the place to go on from
        return
    data = b"".join(_bounded(answer.chunks(CHUNK_BYTES)))
    if answer.status != 202 and data.strip():
        if kind != "application/json":
            raise ServerLied("the MCP server's answer is neither JSON nor a stream of events")
        try:
            yield from _parsed(data)
        except ServerLied:
            if answer.status < 400:
                raise
            raise ServerFailed(f"the MCP server answered {answer.status}") from None


def _bounded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    length = 0
    for chunk in chunks:
        length += len(chunk)
        if length > MAX_ANSWER_BYTES:
            raise ServerLied(f"the MCP server's answer is over {MAX_ANSWER_BYTES:,} bytes")
        yield chunk


def _events(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The data of each event. A stream may go on for ever, an event may not."""
    rest, data, length = bytearray(), list[bytes](), 0
    for chunk in chunks:
        *ends, begun = chunk.split(b"\n")
        for end in ends:
            line = (bytes(rest) + end).removesuffix(b"\r")
            rest.clear()
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
                length += len(line)
            elif not line:
                if data:
                    yield b"\n".join(data)
                data, length = [], 0
        rest += begun  # never copied until it is whole: a server may send it byte by byte
        if length + len(rest) > MAX_ANSWER_BYTES:
            raise ServerLied(f"an event of the MCP server is over {MAX_ANSWER_BYTES:,} bytes")


def _parsed(data: bytes) -> Sequence[Json]:
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ServerLied("the MCP server's answer is not JSON") from error
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) and each.get("jsonrpc") == "2.0" for each in found):
        raise ServerLied("the MCP server's answer is not a message of JSON-RPC 2.0")
    return found


def _no_constant(name: str) -> object:
    """``NaN`` and its like, which Python reads and writes and JSON does not have."""
    raise ValueError(name)
