"""Commits to one project from all nodes at once form one line, and a server that breaks it is noticed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from satchel.catalog import projects, versions
from satchel.catalog.projects import ProjectRow
from satchel.catalog.scope import Scope
from satchel.catalog.versions import NewVersion
from satchel.objects.ids import ProjectId
from satchel.sync.commit import Caller, Committer, Proposed
from satchel.sync.peer import Committed
from tests.nodes.conftest import Cluster
from tests.nodes.line import Event, drive, problems
from tests.server.running import Running, serving

COMMITS = 1_000 if os.environ.get("PROVE") else 60


@pytest.mark.system
@pytest.mark.promise("P4")
@pytest.mark.timeout(1_800)
def test_concurrent_commits_through_all_nodes_form_one_line(cluster: Cluster) -> None:
    askers = cluster.clients(cluster.tenant())
    askers[0].post("/projects", {"slug": "line"}).ok()
    history = drive("line", askers, commits=COMMITS, writers=6, readers=1)
    assert problems(history.events) == []
    assert len(history.commits) == COMMITS
    assert history.refused  # they did meet
    assert not history.failed
    listed = askers[1].get("/projects/line/versions", limit=1_000).ok()["items"]
    assert [row["digest"] for row in reversed(listed)] == [event.digest for event in history.commits]


# Judged by itself ----------------------------------------------------------------------------------------------------

LINE = [
    Event(0.0, 1.0, 0, 1, "a"),
    Event(0.5, 0.9, None, 0, ""),
    Event(1.1, 1.2, None, 1, "a"),
    Event(1.1, 2.0, 1, 2, "b"),
    Event(1.3, 1.4, None, 2, "b"),
    Event(1.5, 1.9, None, 2, "b"),
]


def test_one_line_is_taken_for_one() -> None:
    assert problems(LINE) == []


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Event(2.1, 2.2, 1, 2, "c"), "twice"),
        (Event(2.1, 2.2, 1, 3, "c"), "built on 1"),
        (Event(2.1, 2.2, 3, 4, "c"), "never: [3]"),
        (Event(1.45, 1.5, None, 1, "a"), "had been seen"),
        (Event(2.1, 2.2, None, 2, "z"), "another digest"),
        (Event(2.1, 2.2, None, 3, "c"), "never accepted"),
        (Event(0.1, 1.05, None, 2, "b"), "before anybody proposed"),
    ],
)
def test_what_is_no_line_is_noticed(event: Event, said: str) -> None:
    assert any(said in problem for problem in problems([*LINE, event]))


# Planted -------------------------------------------------------------------------------------------------------------


def _skip_the_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit is put on the head, whatever it was built on."""
    sound = versions.commit

    async def commit(s: Scope, project: str, new: NewVersion) -> versions.VersionRow:
        return await sound(s, project, new._replace(parent=await versions.head(s, project)))

    monkeypatch.setattr(versions, "commit", commit)


def _read_from_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project's row is remembered for a few questions."""
    sound = projects.get
    held: dict[str, tuple[ProjectRow | None, list[None]]] = {}

    async def get(s: Scope, ref: str) -> ProjectRow | None:
        row, uses = held.get(ref, (None, [None] * 9))
        if row is None or len(uses) > 5:
            row, uses = await sound(s, ref), []
        held[ref] = (row, [*uses, None])
        return row

    monkeypatch.setattr(projects, "get", get)


def _answer_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction ends a little after the answer; its outcome is known, nothing else is wrong."""
    sound = Committer._transaction
    turn = asyncio.Lock()
    left: set[asyncio.Task[Any]] = set()

    async def transaction(self: Committer, caller: Caller, project: ProjectId, proposed: Proposed, *given: Any) -> Any:
        new = next(each for each in given if isinstance(each, NewVersion))
        await turn.acquire()
        async with self._catalog.read(caller.tenant) as s:
            loses = await versions.head(s, project) != new.parent

        async def later() -> Any:
            try:
                await asyncio.sleep(0.02)
                return await sound(self, caller, project, proposed, *given)
            finally:
                turn.release()

        task = asyncio.create_task(later())
        if loses:
            return await task
        left.add(task)
        task.add_done_callback(left.discard)
        proposed.settled = True
        return Committed(
            new.parent.lineage, new.parent.version + 1, new.digest, new.time, new.author, added=0, changed=1, deleted=0
        )

    monkeypatch.setattr(Committer, "_transaction", transaction)


@dataclass(frozen=True)
class Defect:
    what: str
    plant: Callable[[pytest.MonkeyPatch], None]


DEFECTS = [
    Defect("the head is not compared", _skip_the_compare),
    Defect("reads come from a cache", _read_from_a_cache),
    Defect("the answer comes before the commit", _answer_before_the_commit),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("line") / "data") as one:
        yield one


@pytest.mark.promise("P4")
@pytest.mark.parametrize("defect", [None, *DEFECTS], ids=lambda defect: defect.what if defect else "none")
def test_a_server_that_breaks_the_line_is_noticed(
    running: Running, monkeypatch: pytest.MonkeyPatch, defect: Defect | None
) -> None:
    if defect is not None:
        defect.plant(monkeypatch)
    owner = running.tenant(f"line-{DEFECTS.index(defect) if defect else 'sound'}")
    owner.post("/projects", {"slug": "line"}).ok()
    askers = [running.client(owner.key) for _ in range(3)]
    found = problems(drive("line", askers, commits=12, writers=4, readers=1).events)
    assert bool(found) == (defect is not None), found
