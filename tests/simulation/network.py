"""The wire between a client and the server: for each request the seed says what becomes of it.

A request may be lost before it arrives or broken off in its body; its answer may be lost after the server did what was
asked; it may arrive twice, or long after its sender gave up, behind requests sent later. While one travels, others act.
The server may be killed at any durable step of it, and its store may fail to answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Any

from satchel.errors import BodyTimeout, SatchelError, ServerAway, Unavailable
from satchel.objects.frame import Frame
from satchel.objects.ids import Digest, ObjectId
from satchel.objects.pack import PackReader
from satchel.sync.peer import Changes, Committed, Files, Head
from tests.simulation.one_thread import Killed
from tests.simulation.service import Server


class Fate(Enum):
    """What becomes of one request."""

    WELL = "arrives"
    SLOW = "arrives after others acted"
    LOST = "is lost"
    DEAF = "arrives, and its answer is lost"
    TWICE = "arrives twice"
    ECHO = "arrives, and again later"
    LATE = "arrives when its sender has given up"
    CUT = "breaks off"
    KILL = "arrives, and the server is killed"
    ERROR = "arrives while the store fails"


ODDS = {
    Fate.WELL: 52,
    Fate.SLOW: 14,
    Fate.LOST: 4,
    Fate.DEAF: 6,
    Fate.TWICE: 5,
    Fate.ECHO: 4,
    Fate.LATE: 4,
    Fate.CUT: 3,
    Fate.KILL: 5,
    Fate.ERROR: 3,
}
KILL_WITHIN, ERROR_WITHIN = 7, 8
"""Durable steps of a request, and requests to the store in it: most of them are within that many."""


@dataclass
class Request:
    """Something sent to the server, as often as the network likes. ``ask`` makes it anew, whole or cut off."""

    who: str
    what: str
    ask: Callable[[bool], Coroutine[Any, Any, Any]]
    key: str = ""
    """Names a write: whatever arrives under one key is one write."""
    decided: bool = False
    """Somebody said which side of a conflict counts."""


@dataclass
class Network:
    server: Server
    random: Random
    tell: Callable[[str], None]
    meanwhile: Callable[[], None]
    """Lets others act."""
    sent: Callable[[Request], None]
    """Is told of each arrival, and ..."""
    made: Callable[[Request, Committed], None]
    """... of each answer to a write, be it heard or not."""
    refused: Callable[[Request, SatchelError], None]
    """And of each refusal."""
    faulty: bool = True
    late: list[Request] = field(default_factory=list)

    def call(self, request: Request) -> Any:
        """The answer. Raises what the server raises, and ``ServerAway`` where none comes."""
        fate = self._fate(request)
        if fate is not Fate.WELL:
            self.tell(f"{request.who}'s {request.what} {fate.value}")
        if fate is Fate.SLOW:
            self.meanwhile()
        if fate in (Fate.LATE, Fate.ECHO):
            self.late.append(request)
        if fate in (Fate.LOST, Fate.LATE):
            raise _away()
        if fate is Fate.DEAF:
            self._unheard(request)
            raise _away()
        if fate is Fate.CUT:
            self._unheard(request, cut=True)
            raise _away()
        if fate is Fate.TWICE:
            first = self._unheard(request)
            second = self.deliver(request)
            return first if first is not None and self.random.random() < 0.5 else second
        if fate is Fate.KILL:
            return self.deliver(request, dies_after=self.random.randrange(KILL_WITHIN))
        if fate is Fate.ERROR:
            self.server.house.store.fails_in = self.random.randrange(ERROR_WITHIN)
        return self.deliver(request)

    def _fate(self, request: Request) -> Fate:
        if not self.faulty:
            return Fate.WELL
        fate = self.random.choices(tuple(ODDS), tuple(ODDS.values()))[0]
        return fate if request.key or fate not in (Fate.LATE, Fate.ECHO, Fate.TWICE) else Fate.WELL

    def deliver(self, request: Request, *, cut: bool = False, dies_after: int | None = None) -> Any:
        self.sent(request)
        try:
            answer = self.server.serve(request.ask(cut), dies_after)
        except Killed:
            raise _away() from None
        except (Unavailable, BodyTimeout):
            raise
        except SatchelError as error:
            self.refused(request, error)
            raise
        if isinstance(answer, Committed):
            self.made(request, answer)
        return answer

    def _unheard(self, request: Request, *, cut: bool = False) -> Any:
        """Arrives, and whatever is answered, nobody hears it."""
        try:
            return self.deliver(request, cut=cut)
        except SatchelError as error:
            self.tell(f"unheard: {error.code}")
            return None

    def arrive(self) -> None:
        """One of the late requests comes in, in any order."""
        if self.late:
            request = self.late.pop(self.random.randrange(len(self.late)))
            self.tell(f"late: {request.who}'s {request.what}")
            self._unheard(request)


def _away() -> ServerAway:
    return ServerAway("no answer")


@dataclass
class Line:
    """One client's ``Peer``."""

    network: Network
    who: str
    decided: bool = False

    def head(self, project: str) -> Head:
        found: Head = self._ask("look at the head", self.network.server.head)
        return found

    def changes(self, project: str, since: int, lineage: str | None) -> Changes:
        found: Changes = self._ask(
            f"question for changes since {since}", lambda: self.network.server.changes(since, lineage)
        )
        return found

    def digest_of(self, project: str, version: int) -> Digest | None:
        found: Digest | None = self._ask(
            f"question for version {version}", lambda: self.network.server.digest_of(version)
        )
        return found

    def _ask(self, what: str, ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return self.network.call(Request(self.who, what, lambda _cut: ask()))

    def sync(
        self, project: str, stream: Iterable[bytes], declared: int, key: str, *, allowed: Sequence[str] = ()
    ) -> Committed:
        server = self.network.server
        sent = list(stream)
        caller = server.caller(self.who)._replace(secrets_allowed=tuple(allowed))

        def ask(cut: bool) -> Coroutine[Any, Any, Committed]:
            return server.receiver.sync(caller, server.project, _body(sent, cut), declared, key)

        made: Committed = self.network.call(
            Request(self.who, f"push {key.partition('-')[2][:-8]}", ask, key, self.decided)
        )
        return made

    def read_objects(self, project: str, objects: Sequence[ObjectId], since: int | None = None) -> Iterator[Frame]:
        yield from self._read(f"reading of {len(objects)} objects", objects, since, None)

    def read_files(self, project: str, files: Files) -> Iterator[Frame]:
        yield from self._read(f"reading of {files.limit} files of version {files.version}", [], None, files)

    def _read(self, what: str, objects: Sequence[ObjectId], since: int | None, files: Files | None) -> Iterator[Frame]:
        server = self.network.server

        async def ask() -> list[bytes]:
            stream = await server.receiver.read_frames(server.tenant, server.project, objects, since, files)
            return [piece async for piece in stream]

        reader = PackReader(deltas=since is not None)
        for piece in self._ask(what, ask):
            yield from reader.feed(piece)
        reader.finish()

    def lacking(self, project: str, objects: Sequence[ObjectId]) -> set[ObjectId]:
        found: set[ObjectId] = self._ask("question for what lacks", lambda: self.network.server.lacking(objects))
        return found

    def damaged(self, project: str) -> list[ObjectId]:
        return sorted(self._ask("question for what is lost", self.network.server.lost))

    def give_back(self, project: str, stream: Iterable[bytes], declared: int) -> int:
        server, sent = self.network.server, list(stream)
        caller = server.caller(self.who)

        async def ask() -> int:
            return (await server.receiver.packs(caller, server.project, _body(sent, False), declared)).restored

        restored: int = self._ask("giving back", ask)
        return restored


async def _body(pieces: Sequence[bytes], cut: bool) -> AsyncIterator[bytes]:
    for piece in pieces[: len(pieces) // 2] if cut else pieces:
        yield piece
    if cut:
        raise BodyTimeout("the body broke off")
