"""``satchel mcp --remote URL``: stdio on one side, any MCP server over HTTP on the other. Loaded by name.

For agents that speak stdio alone, or cannot log in by themselves: when the server asks for it, a browser is opened.
What a person allowed is kept as other credentials are, under ``mcp:`` and the address, and renewed without asking.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from satchel.cli.browser import by_browser
from satchel.cli.credentials import Credential, Credentials
from satchel.cli.face import Face
from satchel.cli.hosted import credentials
from satchel.errors import CredentialMissing, InvalidInput, SatchelError, Unavailable
from satchel.mcp.stdio import INTERNAL_ERROR, INVALID_REQUEST, MAX_MESSAGE_BYTES, PARSE_ERROR, is_modern
from satchel.remote.discovery import Authorization, Challenge, find
from satchel.remote.mcphttp import CONNECTIONS, Call, McpServer
from satchel.remote.mcplogin import Client, Granted, McpLogin, renewed, revoke
from satchel.remote.oauth import LoginRefused
from satchel.worktree.lock import file_lock

ENDLESS = "subscriptions/listen"
"""Its answer goes on as long as the server likes: it ends with stdin, or when the agent gives it up."""
GIVEN_UP = "notifications/cancelled"
_LISTEN_AGAIN = "Listen again, and read again what depends on it: what changed meanwhile is told nobody."
"""The protocol leaves it to the client: a stream that broke is not gone on with."""


def serve(face: Face, url: str, name: str | None, secret: Path | None, stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Pass messages on until ``stdin`` ends and what was asked is answered.

    ``name`` and the file ``secret`` are what a client is known by that was registered beforehand.
    """
    if secret is not None and (name is None or name.startswith("https://")):
        raise InvalidInput("--client-secret-file goes with the --client-id it belongs to")
    tokens = BridgeTokens(face, url, name, None if secret is None else _first_line(secret))
    server = McpServer(url, tokens)
    try:
        _Bridge(server, stdout).run(stdin)
    finally:
        server.close()


class _Bridge:
    def __init__(self, server: McpServer, stdout: BinaryIO) -> None:
        self._server, self._stdout = server, stdout
        self._writing = threading.Lock()
        self._calls: dict[str, Call] = {}
        """Requests of 2026-07-28 under way, by their id as JSON."""

    def run(self, stdin: BinaryIO) -> None:
        with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="satchel-mcp") as pool:
            while line := stdin.readline(MAX_MESSAGE_BYTES + 1):
                if len(line) > MAX_MESSAGE_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = stdin.readline(MAX_MESSAGE_BYTES)
                    self._refuse(None, INVALID_REQUEST, f"a message is at most {MAX_MESSAGE_BYTES:,} bytes")
                    continue
                message = self._parsed(line)
                if message is None:
                    continue
                call = Call()
                if "method" not in message or "id" not in message:
                    if not self._gives_up(message):
                        self._pass_on(message, call)  # in its turn: what follows may rely on it
                    continue
                if is_modern(message.get("params")):
                    self._calls[json.dumps(message["id"])] = call
                if message["method"] == ENDLESS:
                    threading.Thread(target=self._pass_on, args=(message, call), daemon=True).start()
                else:
                    pool.submit(self._pass_on, message, call)

    def _parsed(self, line: bytes) -> dict[str, Any] | None:
        if not line.strip():
            return None
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._refuse(None, PARSE_ERROR, "the message is not JSON")
            return None
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            self._refuse(None, INVALID_REQUEST, "the message is not one JSON-RPC 2.0 object")
            return None
        return message

    def _gives_up(self, message: dict[str, Any]) -> bool:
        """Whether it gives up a request of 2026-07-28: over HTTP the end of the connection says so."""
        params = message.get("params")
        if message.get("method") != GIVEN_UP or not isinstance(params, dict):
            return False
        call = self._calls.get(json.dumps(params.get("requestId")))
        if call is not None:
            call.give_up()
        return call is not None

    def _pass_on(self, message: dict[str, Any], call: Call) -> None:
        asked = "method" in message and "id" in message
        try:
            self._server.send(message, self._write, call)
        except SatchelError as error:
            if asked:
                hint = _LISTEN_AGAIN if message["method"] == ENDLESS and isinstance(error, Unavailable) else error.hint
                self._refuse(message["id"], INTERNAL_ERROR, error.message, {"code": error.code, "hint": hint})
        except BrokenPipeError:
            os._exit(0)  # nobody reads any more: there is nothing left to do for anybody
        except Exception as error:  # noqa: BLE001  a defect in one answer must not take the others with it
            if asked:
                self._refuse(message["id"], INTERNAL_ERROR, f"internal error: {type(error).__name__}")
        finally:
            if asked and self._calls.get(name := json.dumps(message["id"])) is call:
                del self._calls[name]

    def _refuse(self, name: object, code: int, words: str, data: dict[str, str] | None = None) -> None:
        error: dict[str, Any] = {"code": code, "message": words, **({"data": data} if data else {})}
        self._write({"jsonrpc": "2.0", "id": name, "error": error})

    def _write(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._writing:
            self._stdout.write(data)
            self._stdout.flush()


class BridgeTokens:
    """What a person allowed at one MCP server, as ``McpServer`` asks for it. For several threads at once."""

    def __init__(self, face: Face, url: str, name: str | None, secret: str | None) -> None:
        self._face, self._url, self._name, self._secret = face, url, name, secret
        self._stored: Credentials = credentials(face)
        self._lock = threading.Lock()
        self._granted = kept_of(self._stored, url)
        self._refused: tuple[float, SatchelError] | None = None

    def token(self) -> str | None:
        return None if self._granted is None else self._granted.access

    def another(self, refused: str | None, status: int, challenge: Challenge) -> str | None:
        """A renewed token, or one that a person is asked for in the browser. Raises what either raises."""
        # One login at a time on this machine: several agents start at once, and one page in the browser is enough.
        began = time.monotonic()
        name = f"mcp-login-{hashlib.sha256(self._url.encode()).hexdigest()[:16]}.lock"
        with self._lock, file_lock(self._face.machine.config_dir / name, wait=True):
            if self._refused is not None and self._refused[0] >= began:
                raise self._refused[1]  # a person who said no was asked for all who waited
            self._granted = known = kept_of(self._stored, self._url) or self._granted
            if known is not None and known.access != refused:
                return known.access
            if known is not None and status == 403 and not _asks_for_more(challenge, known):
                return None
            at = find(self._url, challenge)
            fresh = renewed(at, known) if known is not None and status == 401 else None
            if fresh is None:
                try:
                    fresh = self._by_browser(at, challenge, known)
                except SatchelError as error:
                    if isinstance(error, LoginRefused):
                        error.hint = "Nothing was kept. Ask again: the browser opens anew."
                    self._refused = (time.monotonic(), error)
                    raise
            self._keep(fresh)
            return fresh.access

    def _by_browser(self, at: Authorization, challenge: Challenge, known: Granted | None) -> Granted:
        same = known is not None and known.client.issuer == at.issuer
        scope = challenge.scope
        if scope is not None and known is not None and same:
            scope = " ".join(dict.fromkeys([*known.scope.split(), *scope.split()]))
        client = known.client if known is not None and same else None
        login = McpLogin(at, scope, known=client, id=self._name, secret=self._secret)
        port = urlsplit(client.redirect).port if client is not None and client.redirect else None

        def show(address: str) -> None:
            self._face.tell(f"{self._url} asks you to log in. Opening your browser at\n  {address}")

        found = by_browser(login, show, port=port or 0)
        if found is None:
            raise CredentialMissing(
                f"{self._url} asks for a login, and no browser can be opened here",
                hint="Name one in the variable BROWSER, or log in with a key:  satchel login, satchel mcp --remote",
            )
        return found

    def _keep(self, granted: Granted) -> None:
        about = {name: value for name, value in granted.client._asdict().items() if value is not None}
        login = {**about, "scope": granted.scope}
        self._stored.put(f"mcp:{self._url}", Credential(access=granted.access, refresh=granted.refresh, login=login))
        self._granted = granted


def kept_of(stored: Credentials, url: str) -> Granted | None:
    """What was allowed at an MCP server, if anything is kept."""
    kept = stored.get(f"mcp:{url}")
    if kept is None or kept.access is None or kept.login is None:
        return None
    about = kept.login
    issuer, name, method = about.get("issuer", ""), about.get("id", ""), about.get("method", "none")
    client = Client(issuer, name, about.get("secret"), method, about.get("redirect"))
    return Granted(client, kept.access, kept.refresh, about.get("scope", ""))


def forget(stored: Credentials, url: str) -> bool | None:
    """Forget what was allowed at an MCP server, and end it there: whether it said so; ``None``: nothing was kept."""
    known, ended = kept_of(stored, url), False
    if known is not None:
        with suppress(SatchelError):  # it ends by itself
            ended = revoke(find(url, Challenge(None, None, None)), known)
    return ended if stored.forget(f"mcp:{url}") else None


def _asks_for_more(challenge: Challenge, known: Granted) -> bool:
    """Whether a person who is asked again could allow something that was not asked for before."""
    return challenge.scope is not None and not set(challenge.scope.split()) <= set(known.scope.split())


def _first_line(file: Path) -> str:
    with suppress(OSError, UnicodeDecodeError), file.open(encoding="utf-8") as stream:
        text = stream.readline(4_096).strip()
        if text:
            return text
    raise InvalidInput(f"{file} does not hold a secret", hint="Write the client's secret into it, on one line.")
