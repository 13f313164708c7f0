"""MCP over stdin and stdout: one JSON-RPC message a line, answered in order, until stdin ends.

Two eras of the protocol are spoken, told apart by each request itself: one whose ``_meta`` names a protocol version
is of 2026-07-28, where every request stands alone; any other belongs to the handshake of 2025-11-25 and before. The
loop is our own because the SDK takes a second to import and loads network code; tests hold it to the SDK's client.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from satchel import __version__
from satchel.context.answers import ContextReader
from satchel.errors import InternalError, InvalidInput, NotFound, SatchelError, TooLarge, UsageError
from satchel.mcp import prompts, resources
from satchel.mcp.tool import ToolResult, Writer, failure
from satchel.mcp.tools import INSTRUCTIONS, TOOLS, WRITING, call, find_tool, no_tool
from satchel.mcp.watching import SUBSCRIPTION_KEY, Watching, wanted_of

MODERN = ("2026-07-28",)
HANDSHAKE = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Versions agreed on by ``initialize``, oldest first."""
SUPPORTED = (*MODERN, *reversed(HANDSHAKE))
"""All of them, as a server tells them: the newest first."""

MAX_MESSAGE_BYTES = 4 * 2**20
"""A longer line is refused and passed over."""

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL_ERROR = -32603
UNSUPPORTED_VERSION = -32022
RESOURCE_NOT_FOUND = -32002
"""Of the handshake versions; 2026-07-28 calls it invalid parameters."""

_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
_SERVER_KEY = "io.modelcontextprotocol/serverInfo"
_SERVER = {"name": "satchel", "title": "Satchel", "version": __version__}
_ABOUT: dict[str, Any] = {"resultType": "complete", "_meta": {_SERVER_KEY: _SERVER}}
"""What every result of 2026-07-28 says."""
LISTEN = "subscriptions/listen"
_CAPABILITIES: dict[str, Any] = {
    "tools": {"listChanged": False},
    "resources": {"listChanged": True, "subscribe": True},
    "prompts": {"listChanged": False},
}
LOOK_SECONDS = 5.0
"""How often it is looked for what a client wants to be told of."""
LOOK_SHARE = 100
"""Of the time at most one part in so many goes into looking: a folder of 100,000 files is looked at less often."""
_FIXED = {"ttlMs": 3_600_000, "cacheScope": "public"}
"""Tools are the same for everybody until the program is replaced."""
_NEVER_CHANGES = ("server/discover", "tools/list", "resources/templates/list", "prompts/list")
_LIVE = {"ttlMs": 0, "cacheScope": "private"}
"""Artifacts may change before the next question."""

Params = Mapping[str, Any]
Result = dict[str, Any]


class _Fault(Exception):
    """A request that the protocol itself answers with an error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


def serve(reader: ContextReader, stdin: BinaryIO, stdout: BinaryIO, write: Writer | None = None) -> None:
    """Answer until ``stdin`` ends or the client stops reading. With ``write`` the tools that write are offered too."""
    session = Session(reader, write)
    turn, over = threading.Lock(), threading.Event()
    watcher: threading.Thread | None = None

    def say(*messages: Result) -> None:
        stdout.write(b"".join(map(_encode, messages)))
        stdout.flush()

    def watch() -> None:
        pause = LOOK_SECONDS
        while not over.wait(pause):
            began = time.monotonic()
            try:
                with turn:
                    say(*session.look())
            except (BrokenPipeError, ValueError):  # nobody reads any more
                return
            pause = max(LOOK_SECONDS, LOOK_SHARE * (time.monotonic() - began))

    try:
        while line := stdin.readline(MAX_MESSAGE_BYTES + 1):
            if len(line) > MAX_MESSAGE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stdin.readline(MAX_MESSAGE_BYTES)
                refused = _error(None, INVALID_REQUEST, f"a message is at most {MAX_MESSAGE_BYTES:,} bytes")
                with turn:
                    say(refused)
                continue
            with turn:
                said = session.answer(line)
                say(*((said,) if said is not None else ()))
            if watcher is None and session.watches:
                watcher = threading.Thread(target=watch, name="watch", daemon=True)
                watcher.start()
        with turn:
            say(*session.ended())
    except BrokenPipeError:
        pass
    finally:
        over.set()
        if watcher is not None:
            watcher.join()


class Session:
    """Answers messages one by one. It keeps nothing between them but what the client wants to be told of."""

    def __init__(self, reader: ContextReader, write: Writer | None = None) -> None:
        self._reader, self._write = reader, write
        self._watching = Watching(reader)
        self._tools = TOOLS if write is None else (*TOOLS, *WRITING)
        shared: dict[str, Callable[[Params], Result]] = {
            "tools/list": self._list_tools,
            "tools/call": self._call_tool,
            "resources/list": self._list_resources,
            "resources/templates/list": self._list_templates,
            "resources/read": self._read_resource,
            "prompts/list": self._list_prompts,
            "prompts/get": self._get_prompt,
        }
        self._modern = {**shared, "server/discover": self._discover}
        self._legacy = {
            **shared,
            "initialize": self._initialize,
            "ping": self._ping,
            "resources/list": self._list_and_follow,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
        }

    @property
    def watches(self) -> bool:
        """Whether there is anything to look for."""
        return self._watching.active

    def look(self) -> list[Result]:
        """What the client is to be told now. What cannot be looked at is looked at the next time."""
        try:
            return self._watching.look() if self.watches else []
        except SatchelError:
            return []

    def ended(self) -> list[Result]:
        """The answers to requests that lasted until now."""
        return [
            {"jsonrpc": "2.0", "id": name, "result": {**_ABOUT, "_meta": {**_ABOUT["_meta"], SUBSCRIPTION_KEY: name}}}
            for name in self._watching.names
        ]

    def answer(self, line: bytes) -> Result | None:
        """What to say to one message; ``None`` to a notification, to a blank line and to a response."""
        if not line.strip():
            return None
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return _error(None, PARSE_ERROR, "the message is not JSON")
        if (wrong := fault_of(message)) is not None:
            return wrong
        method, name = message.get("method"), message.get("id")
        if method is None:
            return None
        if "id" not in message:
            if method == "notifications/cancelled":
                self._cancel(message.get("params"))
            return None
        try:
            if method == LISTEN and isinstance(name, (str, int)) and is_modern(message.get("params")):
                return self._listen(name, message["params"])
            return {"jsonrpc": "2.0", "id": name, "result": self._dispatch(method, message.get("params"))}
        except _Fault as fault:
            return _error(name, fault.code, fault.message, fault.data)
        except Exception:  # noqa: BLE001  a defect in one answer must not take the agent's other questions with it
            return _error(name, INTERNAL_ERROR, "internal error", failure(InternalError("the request failed")))

    def _dispatch(self, method: str, params: Params | None) -> Result:
        given = params or {}
        modern = is_modern(given) and method != "initialize"
        if modern:
            _check_envelope(given["_meta"])
        handler = (self._modern if modern else self._legacy).get(method)
        if handler is None:
            raise _Fault(METHOD_NOT_FOUND, f"there is no method {method[:100]}")
        try:
            result = handler(given)
        except SatchelError as error:
            raise _Fault(error_code(error, modern=modern), error.message, failure(error)) from error
        if not modern:
            return result
        if method in ("tools/call", "prompts/get"):
            return {**_ABOUT, **result}
        hints = _FIXED if method in _NEVER_CHANGES else _LIVE
        return {**_ABOUT, **hints, **result}

    def _initialize(self, params: Params) -> Result:
        wanted = params.get("protocolVersion")
        if not isinstance(wanted, str):
            raise _Fault(INVALID_PARAMS, "protocolVersion is missing")
        version = wanted if wanted in HANDSHAKE else HANDSHAKE[-1]
        return {
            "protocolVersion": version,
            "capabilities": _CAPABILITIES,
            "serverInfo": _SERVER,
            "instructions": INSTRUCTIONS,
        }

    def _discover(self, params: Params) -> Result:
        return {"supportedVersions": list(SUPPORTED), "capabilities": _CAPABILITIES, "instructions": INSTRUCTIONS}

    def _ping(self, params: Params) -> Result:
        return {}

    def _list_tools(self, params: Params) -> Result:
        return {"tools": [tool.declaration() for tool in self._tools]}

    def _call_tool(self, params: Params) -> Result:
        name = params.get("name")
        if not isinstance(name, str) or find_tool(name) is None:
            raise no_tool(name, writing=self._write is not None)
        return tool_result(call(self._reader, name, params.get("arguments"), self._write))

    def _list_resources(self, params: Params) -> Result:
        cursor = params.get("cursor")
        if cursor is not None and not isinstance(cursor, str):
            raise _Fault(INVALID_PARAMS, "cursor is not text")
        return resources.list_page(self._reader, cursor)

    def _list_templates(self, params: Params) -> Result:
        return {"resourceTemplates": [resources.TEMPLATE]}

    def _list_prompts(self, params: Params) -> Result:
        return {"prompts": [prompt.declaration() for prompt in prompts.PROMPTS]}

    def _get_prompt(self, params: Params) -> Result:
        name, arguments = params.get("name"), params.get("arguments")
        if not isinstance(name, str) or not isinstance(arguments, dict | None):
            raise _Fault(INVALID_PARAMS, "a prompt needs its name, and its arguments as an object")
        return prompts.get(name, arguments)

    def _read_resource(self, params: Params) -> Result:
        return resources.read(self._reader, _uri(params))

    def _list_and_follow(self, params: Params) -> Result:
        """Who has the list is told when it is another one."""
        self._watching.add(listed=True)
        return self._list_resources(params)

    def _subscribe(self, params: Params) -> Result:
        self._watching.add(_uri(params))
        return {}

    def _unsubscribe(self, params: Params) -> Result:
        self._watching.drop(_uri(params))
        return {}

    def _listen(self, name: str | int, params: Params) -> Result:
        """The acknowledgement: the request itself is answered when its subscription ends with the server."""
        _check_envelope(params["_meta"])
        try:
            return self._watching.listen(name, wanted_of(params.get("notifications")))
        except SatchelError as error:
            raise _Fault(error_code(error, modern=True), error.message, failure(error)) from error

    def _cancel(self, params: object) -> None:
        name = params.get("requestId") if isinstance(params, dict) else None
        if isinstance(name, (str, int)):
            self._watching.end(name)


def _uri(params: Params) -> str:
    uri = params.get("uri")
    if not isinstance(uri, str):
        raise InvalidInput("uri is missing")
    return uri


def is_modern(params: object) -> bool:
    """Whether a request with these parameters says that it is of 2026-07-28 or later."""
    meta = params.get("_meta") if isinstance(params, dict) else None
    return isinstance(meta, dict) and _VERSION_KEY in meta


def fault_of(message: object) -> Result | None:
    """What a message is answered that is no message of JSON-RPC 2.0; ``None`` for one that is: a request, a
    notification or a response."""
    if isinstance(message, list):
        return _error(None, INVALID_REQUEST, "batches are not taken: send each message by itself")
    if not isinstance(message, dict):
        return _error(None, INVALID_REQUEST, "the message is not one JSON-RPC object")
    method, name = message.get("method"), message.get("id")
    if method is None and ("result" in message or "error" in message):
        return None
    if "id" in message and (not isinstance(name, (str, int)) or isinstance(name, bool)):
        return _error(None, INVALID_REQUEST, "the id of a request is text or a whole number")
    if message.get("jsonrpc") != "2.0" or not isinstance(method, str):
        return _error(name, INVALID_REQUEST, "the message is not a JSON-RPC 2.0 request")
    if "id" in message and not isinstance(message.get("params"), dict | None):
        return _error(name, INVALID_PARAMS, "params is not an object")
    return None


def error_code(error: SatchelError, *, modern: bool) -> int:
    """What the protocol calls an error outside of tools: something the client asked wrongly, or something else."""
    if isinstance(error, NotFound) and not modern:
        return RESOURCE_NOT_FOUND
    return INVALID_PARAMS if isinstance(error, NotFound | UsageError | TooLarge) else INTERNAL_ERROR


def tool_result(result: ToolResult) -> Result:
    """A result as ``tools/call`` gives it. An error has text alone: its shape is not the one the tool declared."""
    wire: Result = {
        "content": [{"type": "text", "text": text} for text in result.texts()],
        "isError": result.is_error,
    }
    if not result.is_error:
        wire["structuredContent"] = result.content
    return wire


def _check_envelope(meta: Mapping[str, Any]) -> None:
    """What every request of 2026-07-28 says of itself. Raises ``_Fault``."""
    version = meta[_VERSION_KEY]
    if not isinstance(version, str) or not isinstance(meta.get(_CAPABILITIES_KEY), dict):
        raise _Fault(INVALID_PARAMS, f"_meta needs {_VERSION_KEY} and {_CAPABILITIES_KEY}")
    if version not in MODERN:
        data = {"supported": list(SUPPORTED), "requested": version}
        raise _Fault(UNSUPPORTED_VERSION, "Unsupported protocol version", data)


def _error(name: object, code: int, message: str, data: object = None) -> Result:
    error: Result = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": name, "error": error}


def _encode(message: Result) -> bytes:
    try:
        return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, echoed from the request
        return json.dumps(message, separators=(",", ":")).encode() + b"\n"
