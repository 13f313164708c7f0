"""People with folders and agents without, who edit, sync, undo and decide as the seed says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from satchel.errors import (
    HeadMoved,
    InvalidInput,
    ObjectsMissing,
    PathRefused,
    PreconditionFailed,
    SatchelError,
    Unavailable,
)
from satchel.objects.ids import ObjectId, object_id
from satchel.objects.paths import path_problem, tree_problems
from satchel.sync.choices import Direction, Strategy
from satchel.sync.report import SyncReport
from satchel.sync.run import run
from satchel.sync.settle import NothingToUndo, Take, resolve, undo
from satchel.worktree.base import load_base
from satchel.worktree.undo import UndoStore
from satchel.worktree.walk import ChangedMeanwhile, Worktree
from tests.simulation.ledger import TOKEN, Broken, Ledger, Person, tokens
from tests.simulation.network import Line, Network, Request
from tests.simulation.one_thread import Killed, Process, Processes

PATHS = ("a.md", "b.md", "docs/c.md", "docs/d.md", "e.json", "f.bin")
CLASHING = ("A.md", "docs", "\u00e9.md", "\u00c9.md", "e\u0301.md")
"""Names that cannot stand beside others: but for case, as a folder of them, but for how a letter is composed."""
WORK = {"edit": 12, "make": 4, "delete": 2, "rename": 2, "mode": 1}
"""How often a person does what, against the others."""
FEW = (Unavailable, HeadMoved, ChangedMeanwhile, ObjectsMissing, PreconditionFailed)
"""What a command may end with when others act, or nobody answers."""
STEPS_OF_A_SYNC = 30
MOST_BYTES = 1 << 20
"""No file here has that many."""


class Pen:
    """Writes what nobody wrote before."""

    def __init__(self, random: Random) -> None:
        self.random, self._last = random, 0

    def token(self) -> bytes:
        self._last += 1
        return b"tok%d" % self._last

    def draft(self, path: str) -> bytes:
        return render(path, [self.token() for _ in range(7)])

    def edit(self, path: str, data: bytes) -> bytes:
        """The same with one new line, for another or beside it; of what is not text, all of it is new."""
        lines = TOKEN.findall(data)
        if path.endswith(".bin") or not lines:
            return self.draft(path)
        if b"<<<<<<<" not in data:
            at = self.random.randrange(len(lines))
            lines[at : at + self.random.choice((0, 1, 1))] = [self.token()]
            return render(path, lines)
        old = self.random.choice(lines)  # somewhere in a file that shows a conflict
        return data.replace(old, self.token(), 1)


def render(path: str, lines: list[bytes]) -> bytes:
    if path.endswith(".json"):
        return json.dumps({line.decode(): 1 for line in lines}, indent=1).encode() + b"\n"
    return (b"\0" if path.endswith(".bin") else b"") + b"".join(line + b" is here\n" for line in lines)


@dataclass
class Client:
    """A person and their folder."""

    name: str
    root: Path
    network: Network
    ledger: Ledger
    processes: Processes
    pen: Pen
    clock: Callable[[], int]
    skew_ms: int
    busy: bool = False
    names: tuple[str, ...] = PATHS
    shadow: dict[str, bytes] = field(default_factory=dict)
    """The folder as the person last saw it."""
    owed: dict[bytes, str] = field(default_factory=dict)
    """What syncs overwrote, and where it was."""

    def __post_init__(self) -> None:
        (self.root / ".satchel").mkdir(parents=True)
        self.who = self.ledger.people[self.name] = Person(self.name)
        self.line = Line(self.network, self.name)

    @property
    def random(self) -> Random:
        return self.pen.random

    def clock_ns(self) -> int:
        return (self.clock() + self.skew_ms) * 1_000_000

    def files(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        folders = [""]
        for folder in folders:
            with os.scandir(f"{self.root}/{folder}") as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name != ".satchel":
                            folders.append(f"{folder}{entry.name}/")
                        continue
                    fd = os.open(entry.path, os.O_RDONLY)
                    found[folder + entry.name] = os.read(fd, MOST_BYTES)
                    os.close(fd)
        return dict(sorted(found.items()))

    # What a person does -----------------------------------------------------------------------------------------------

    def work(self) -> str:
        """Edit, make, delete, rename a file, or change its mode; says what."""
        there = self.files()
        free = [path for path in self.names if path not in there and self._fits(path, there)]
        deed = self.random.choices(tuple(WORK), tuple(WORK.values()))[0]
        if not there or (deed == "rename" and not free):
            deed = "make"
        if deed == "make" and not free:
            deed = "edit"
        if deed == "make":
            path = self.random.choice(free)
            return self._put(path, self.pen.draft(path), None)
        path = self.random.choice(list(there))
        if deed == "edit":
            return self._put(path, self.pen.edit(path, there[path]), there[path])
        if deed == "mode":
            (self.root / path).chmod((self.root / path).stat().st_mode ^ 0o100)
            return f"changes the mode of {path}"
        if deed == "delete":
            self._take_away(path, there[path])
            self.who.removed |= tokens([there[path]])
            return f"deletes {path}"
        return self.rename(path, self.random.choice(free), there[path])

    def rename(self, path: str, new: str, data: bytes) -> str:
        self._take_away(path, data)
        self._put(new, data, None)
        beside = tree_problems([name for name in self.files() if path_problem(name) is None])
        if path_problem(new) is not None or new in beside or object_id(data) not in self._in_base():
            self.who.removed |= tokens([data])  # no project can have it by that name, or it is an edit too
        return f"renames {path} to {new}"

    def _take_away(self, path: str, data: bytes) -> None:
        self.who.deleted.add(path)
        self.owed.pop(data, None)
        self.shadow.pop(path, None)
        (self.root / path).unlink()

    @staticmethod
    def _fits(path: str, there: Iterable[str]) -> bool:
        """Whether a folder can have such a file beside the others."""
        return not any(path.startswith(f"{other}/") or other.startswith(f"{path}/") for other in there)

    def settle_names(self) -> bool:
        """Give files that cannot stand beside those in the cloud names of their own; whether there were any."""
        head, has = self.ledger.head_files(), self.files()
        own = [path for path in has if path not in head and path_problem(path) is None]
        clashing = [path for path in own if tree_problems([*head, path])]
        clashing += [path for path in tree_problems(own) if path not in clashing]
        for path in clashing:
            stem, dot, suffix = path.replace("/", "-").rpartition(".")
            new = f"{stem or suffix}-{self.name}-{len(self.who.wrote)}{dot if stem else ''}{suffix if stem else ''}"
            self.network.tell(f"{self.name} {self.rename(path, new, has[path])}")
        return bool(clashing)

    def _put(self, path: str, data: bytes, before: bytes | None) -> str:
        if before is not None:
            # What was renamed and then edited is a new file: it may have to wait while the old one goes.
            anew = path not in self._in_base().get(object_id(before), (path,))
            self.who.removed |= tokens([before]) - (set() if anew else tokens([data]))
            self.owed.pop(before, None)
        self.who.wrote.add((path, object_id(data)))
        self.shadow[path] = data
        target = self.root / path
        if target.is_dir():
            target.rmdir()  # left empty by a deletion
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
        return f"edits {path}" if before is not None else f"makes {path}"

    def _in_base(self) -> dict[ObjectId, list[str]]:
        """What the folder was last in step with, by content."""
        base, _ = load_base(self.root)
        found: dict[ObjectId, list[str]] = {}
        for path, entry in base.tree.items() if base else ():
            found.setdefault(entry.object, []).append(path)
        return found

    # What Satchel does for them ---------------------------------------------------------------------------------------

    def sync(self, direction: Direction, strategy: Strategy) -> SyncReport | None:
        """One command, which may be killed; ``None`` where it did not end well."""
        self.line.decided = decided = strategy is not Strategy.MANUAL
        if (direction, strategy) == (Direction.TO_CLOUD, Strategy.CLOUD):
            # What lost stays here until something is fetched.
            self.who.removed |= tokens(self.files().values()) - tokens(self.ledger.head_files().values())

        def command() -> SyncReport:
            return run(
                Worktree.open(self.root),
                self.line,
                self.network.server.project,
                direction,
                strategy=strategy,
                random=self.random.randbytes,
                clock_ns=self.clock_ns,
            )

        report: SyncReport | None = self._command(
            f"sync ({direction.value}, {strategy.value})", command, decided=decided
        )
        return report

    def undo(self) -> None:
        store = UndoStore(self.root)
        if store.syncs():
            self.who.excused |= {kept.path for name in store.syncs() for kept in store.kept(name)}
            self._command(
                "undo",
                lambda: undo(Worktree.open(self.root), random=self.random.randbytes, clock_ns=self.clock_ns),
                decided=True,
            )

    def resolve(self) -> None:
        path, take = self.random.choice(self.names), self.random.choice(list(Take))
        self.who.excused.add(path)
        self.who.removed |= tokens([self.files().get(path, b"")])
        if self.ledger.history and path in self.ledger.history[-1].tree:
            self.who.removed |= tokens([self.ledger.objects[self.ledger.history[-1].tree[path].object]])
        given = (Worktree.open(self.root), [path], take)
        self._command(
            f"resolving of {path} by {take.value}",
            lambda: resolve(*given, force=True, random=self.random.randbytes, clock_ns=self.clock_ns),
            decided=True,
        )

    def _command(self, what: str, command: Callable[[], Any], *, decided: bool) -> Any:
        tell, dies = self.network.tell, self.network.faulty and self.random.random() < 0.12
        self.busy, self.shadow = True, self.files()
        process = Process(f"{self.name}'s {what}", self.random.randrange(STEPS_OF_A_SYNC) if dies else None)
        result = None
        tell(f"{self.name}'s {what} begins")
        try:
            with self.processes.at_work(process):
                result = command()
            tell(f"{self.name}'s {what} ends" + (f": {told(result)}" if isinstance(result, SyncReport) else ""))
        except Killed:
            pass
        except (NothingToUndo, InvalidInput, PathRefused) as error:  # what a person may be told who decides
            if what.startswith("sync"):
                raise Broken(f"{self.name}'s {what} ended with {error.code}: {error.message}") from error
        except FEW as error:
            tell(f"{self.name}'s {what} gives up: {error.code}")
        except SatchelError as error:
            raise Broken(f"{self.name}'s {what} ended with {error.code}: {error.message}") from error
        self.busy = False
        self._compare(decided)
        return result

    def _compare(self, decided: bool) -> None:
        has = self.files()
        self.owed |= {data: path for path, data in self.shadow.items() if has.get(path) != data}
        self.ledger.check()
        self.ledger.synced(self.who, self.shadow, has, decided)
        self.ledger.kept(self.who, self.owed, has.values(), self._undo_store)
        if all(request.who != self.name for request in self.network.late):
            self.who.deleted -= has.keys()

    def forgive(self, went: set[ObjectId]) -> None:
        """Content that history alone had was taken out of it on purpose."""
        self.owed = {data: path for data, path in self.owed.items() if object_id(data) not in went}

    def _undo_store(self) -> Iterator[bytes]:
        store = UndoStore(self.root)
        return (kept.data for name in store.syncs() for kept in store.kept(name) if kept.data is not None)


def told(report: SyncReport) -> str:
    parts: dict[str, Sequence[Any]] = {
        "pushed": report.pushed,
        "pulled": report.pulled,
        "merged": report.merged,
        "conflicts": [f"{one.path} ({one.reason})" for one in report.conflicts],
    }
    said = {
        name: ", ".join(one if isinstance(one, str) else one.path for one in paths) for name, paths in parts.items()
    }
    return f"version {report.version}; " + "; ".join(f"{name} {paths}" for name, paths in said.items() if paths)


@dataclass
class Agent:
    """Writes single artifacts as over REST: on the version it read, again under the same key where no answer came."""

    name: str
    network: Network
    ledger: Ledger
    pen: Pen
    names: tuple[str, ...] = PATHS
    busy: bool = False
    count: int = 0

    def __post_init__(self) -> None:
        self.who = self.ledger.people[self.name] = Person(self.name)

    def write(self) -> None:
        self.ledger.check()
        tree = self.ledger.history[-1].tree if self.ledger.history else {}
        path = self.pen.random.choice(self.names)
        entry = tree.get(path)
        before = b"" if entry is None else self.ledger.objects[entry.object]
        data = self.pen.edit(path, before) if self.pen.random.random() < 0.85 or entry is None else None
        self.who.removed |= tokens([before]) - tokens([data or b""])
        if data is None:
            self.who.deleted.add(path)
        else:
            self.who.wrote.add((path, object_id(data)))
        self.count += 1
        self._send(path, data, "*absent" if entry is None else entry.object, f"{self.name}-write-{self.count}")

    def _send(self, path: str, data: bytes | None, precondition: str, key: str) -> None:
        server = self.network.server

        def ask(_cut: bool) -> Coroutine[Any, Any, Any]:
            return server.receiver.write(server.caller(self.name), server.project, path, data, None, precondition, key)

        self.busy = True
        self.network.tell(f"{self.name} writes {path}")
        for _ in range(3):
            try:
                self.network.call(Request(self.name, f"write of {path}", ask, key))
                break
            except Unavailable:
                continue
            except FEW as error:
                self.network.tell(f"{self.name} is refused: {error.code}")
                break
            except SatchelError as error:
                if error.code in ("artifact.not_found", "path.refused"):
                    break
                raise Broken(f"{self.name}'s write ended with {error.code}: {error.message}") from error
        self.busy = False
