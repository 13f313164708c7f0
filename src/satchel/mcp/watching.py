"""What a client wants to be told of, and what there is to tell: found by looking, since a folder says nothing itself.

For the stdio loop, over any reader. A look costs a scan where nothing changed; only what is wanted is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from satchel.context.answers import MAX_LIST_LIMIT, ContextReader
from satchel.errors import InvalidInput, SatchelError, Unavailable
from satchel.mcp.resources import place_of

SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"
LIST_CHANGED = "notifications/resources/list_changed"
UPDATED = "notifications/resources/updated"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
MAX_WATCHED = 1_000
"""Resources that one subscription names."""
MAX_SUBSCRIPTIONS = 16
Message = dict[str, Any]
Name = str | int | None
"""Of a subscription: the id of the request that began it; ``None`` stands for the versions with a handshake."""


class Wanted(NamedTuple):
    """What one subscription is told."""

    listed: bool = False
    """Whether other resources are listed."""
    uris: frozenset[str] = frozenset()
    """Whether one of these holds something else."""

    def honoured(self) -> dict[str, Any]:
        """As the acknowledgement names it."""
        said: dict[str, Any] = {"resourcesListChanged": True} if self.listed else {}
        return said | ({"resourceSubscriptions": sorted(self.uris)} if self.uris else {})


def wanted_of(asked: object) -> Wanted:
    """What a ``subscriptions/listen`` can be given: tools and prompts never change. Raises ``InvalidInput``."""
    if not isinstance(asked, Mapping):
        raise InvalidInput("notifications is not an object")
    uris = asked.get("resourceSubscriptions") or []
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise InvalidInput("resourceSubscriptions is not a list of texts")
    return Wanted(asked.get("resourcesListChanged") is True, _checked(uris))


def _checked(uris: Iterable[str]) -> frozenset[str]:
    found = frozenset(uris)
    if len(found) > MAX_WATCHED:
        raise InvalidInput(f"{len(found):,} resources are named; a subscription names at most {MAX_WATCHED:,}")
    for uri in found:
        place_of(uri)
    return found


class Watching:
    """The subscriptions of one session. For one thread at a time."""

    def __init__(self, reader: ContextReader) -> None:
        self._reader = reader
        self._wanted: dict[Name, Wanted] = {}
        self._digests: dict[str, str | None] | None = None
        self._lists: dict[str, bytes] = {}
        self._objects: dict[str, str | None] = {}
        # Found while a subscription began, and still to be told to the others.
        self._listed = False
        self._changed: set[str] = set()

    @property
    def active(self) -> bool:
        return bool(self._wanted)

    @property
    def names(self) -> list[Name]:
        """Of the subscriptions whose requests are still to be answered."""
        return [name for name in self._wanted if name is not None]

    def listen(self, name: Name, wanted: Wanted) -> Message:
        """Begin, or change, a subscription; the acknowledgement. Raises ``InvalidInput`` where there are too many, and
        why it cannot be looked now: then all is as before."""
        before = self._wanted.get(name)
        if name not in self._wanted and len(self._wanted) >= MAX_SUBSCRIPTIONS:
            raise InvalidInput(f"there are {MAX_SUBSCRIPTIONS} subscriptions already", hint="End one of them first.")
        self._wanted[name] = wanted
        try:
            self._note()
        except SatchelError:
            del self._wanted[name]
            if before is not None:
                self._wanted[name] = before
            raise
        return _message(ACKNOWLEDGED, name, {"notifications": wanted.honoured()})

    def add(self, *uris: str, listed: bool = False) -> None:
        """What the versions with a handshake ask for, one by one. Raises ``InvalidInput``."""
        now = self._wanted.get(None, Wanted())
        self.listen(None, Wanted(now.listed or listed, _checked(now.uris | set(uris))))

    def drop(self, uri: str) -> None:
        now = self._wanted.get(None)
        if now is not None:
            self._wanted[None] = now._replace(uris=now.uris - {uri})

    def end(self, name: Name) -> bool:
        """Whether there was such a subscription."""
        return self._wanted.pop(name, None) is not None

    def look(self) -> list[Message]:
        """What is to be told since the last look."""
        self._note()
        listed, self._listed = self._listed, False
        changed, self._changed = self._changed, set()
        told: list[Message] = []
        for name, wanted in self._wanted.items():
            if listed and wanted.listed:
                told.append(_message(LIST_CHANGED, name, {}))
            told += [_message(UPDATED, name, {"uri": uri}) for uri in sorted(wanted.uris & changed)]
        return told

    def _note(self) -> None:
        """Take down how things stand, and what of it is new."""
        before, digests = self._digests, {info["project"]: info["digest"] for info in self._reader.projects()}
        moved = set() if before is None else {name for name in digests if before.get(name) != digests[name]}
        if any(wanted.listed for wanted in self._wanted.values()):
            # A list is read when its project moved: the first time whatever happened counts as another list.
            lists = {name: self._list(name) for name in moved}
            self._listed |= any(self._lists.get(name) != lists[name] for name in moved)
            self._listed |= before is not None and before.keys() != digests.keys()
            self._lists |= lists
        uris = {uri for wanted in self._wanted.values() for uri in wanted.uris}
        objects = dict(self._objects)
        for uri in uris:
            if uri not in objects or place_of(uri).project not in digests or place_of(uri).project in moved:
                objects[uri] = self._object(uri)
        self._changed |= {uri for uri in uris if uri in self._objects and self._objects[uri] != objects[uri]}
        self._objects = {uri: objects[uri] for uri in uris}
        self._digests = digests

    def _list(self, project: str) -> bytes:
        """Stands for the paths of a project."""
        seen, cursor = hashlib.sha256(), None
        try:
            while True:
                page = self._reader.artifacts(project, cursor=cursor, limit=MAX_LIST_LIMIT)
                seen.update("".join(f"{item['path']}\n" for item in page["items"]).encode())
                cursor = page["next"]
                if cursor is None:
                    return seen.digest()
        except Unavailable:
            raise  # nothing is known to be new: it is looked again
        except SatchelError:
            return b""

    def _object(self, uri: str) -> str | None:
        place = place_of(uri)
        try:
            return self._reader.artifact(place.project, place.path, budget=1)["object"]
        except Unavailable:
            raise
        except SatchelError:
            return None


def _message(method: str, name: Name, params: dict[str, Any]) -> Message:
    if name is not None:
        params = {**params, "_meta": {SUBSCRIPTION_KEY: name}}
    return {"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}
