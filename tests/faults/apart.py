"""Client and server in two processes, so that either may die alone. HTTP alone is left out between them."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from satchel.errors import SatchelError, ServerAway
from satchel.objects.frame import Frame
from satchel.objects.ids import Digest, ObjectId
from satchel.sync.peer import Changes, Committed, Files, Head
from tests.faults.scenes import acknowledged
from tests.sync.cloud import InProcessPeer


class Far:
    """A ``Peer`` at the other end of a pipe. A server that is gone is away, as for ``satchel.remote``."""

    def __init__(self, line: Connection, acks: Path) -> None:
        self._line, self._acks = line, acks

    def head(self, project: str) -> Head:
        found: Head = self._ask("head", project)
        return found

    def changes(self, project: str, since: int, lineage: str | None) -> Changes:
        found: Changes = self._ask("changes", project, since, lineage)
        return found

    def digest_of(self, project: str, version: int) -> Digest | None:
        found: Digest | None = self._ask("digest_of", project, version)
        return found

    def sync(
        self, project: str, stream: Iterable[bytes], declared: int, key: str, *, allowed: Sequence[str] = ()
    ) -> Committed:
        return acknowledged(self._acks, self._ask("sync", project, list(stream), declared, key))

    def lacking(self, project: str, objects: Sequence[ObjectId]) -> set[ObjectId]:
        found: set[ObjectId] = self._ask("lacking", project, objects)
        return found

    def damaged(self, project: str) -> list[ObjectId]:
        found: list[ObjectId] = self._ask("damaged", project)
        return found

    def give_back(self, project: str, stream: Iterable[bytes], declared: int) -> int:
        count: int = self._ask("give_back", project, list(stream), declared)
        return count

    def read_objects(self, project: str, objects: Sequence[ObjectId], since: int | None = None) -> Iterator[Frame]:
        yield from self._ask("read_objects", project, objects, since)

    def read_files(self, project: str, files: Files) -> Iterator[Frame]:
        yield from self._ask("read_files", project, files)

    def _ask(self, what: str, *given: Any) -> Any:
        try:
            self._line.send_bytes(pickle.dumps((what, given)))
            answer = pickle.loads(self._line.recv_bytes())
        except (EOFError, OSError) as error:
            raise ServerAway("the server does not answer") from error
        if isinstance(answer, SatchelError):
            raise answer
        return answer


def serve(line: Connection, peer: InProcessPeer) -> None:
    """Answer until the client is gone."""
    while True:
        try:
            what, given = pickle.loads(line.recv_bytes())
        except EOFError:
            return
        answer: Any
        try:
            answer = getattr(peer, what)(*given)
            if what in ("read_objects", "read_files"):
                answer = list(answer)
        except SatchelError as error:
            answer = error
        try:
            line.send_bytes(pickle.dumps(answer))
        except OSError:
            return
