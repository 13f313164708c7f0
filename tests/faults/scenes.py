"""What is going on when the crash comes: a folder, a cloud on disk, and one command between them.

Every content is one that nobody wrote before, so that it can be told whether it is still somewhere. ``SCENES`` has the
commands by name; a stage is the disk they play on, and can be copied.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from satchel.catalog import retention
from satchel.catalog.retention import Retention
from satchel.context.local import LocalReader
from satchel.context.project import LocalProject
from satchel.errors import InvalidInput
from satchel.objects.frame import make_frames
from satchel.objects.ids import ProjectId, TenantId, object_id
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.sync.peer import Committed, Peer
from satchel.sync.receive import LEASE_MS
from satchel.sync.report import SyncReport
from satchel.sync.run import run
from satchel.sync.settle import Take, resolve, undo
from satchel.sync.wire import encode_preamble
from satchel.upkeep.collect import CollectReport, collect
from satchel.worktree.walk import Worktree
from tests.sync.cloud import Cloud, InProcessPeer

T = TypeVar("T")
DAY_NS = 86_400 * 10**9


class OneThread(Cloud):
    """A cloud that does everything in the thread that asks. For a process of its own (see ``puppets``)."""

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.wait(self._open())

    def close(self) -> None:
        self.wait(self.catalog.close())
        self._loop.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


@dataclass(frozen=True)
class Stage:
    """A disk: ``cloud`` is the server's, ``ann`` and ``bob`` are folders, ``acks`` is what Ann was told."""

    where: Path
    tenant: TenantId
    project: ProjectId

    @classmethod
    def make(cls, where: Path) -> Self:
        (where / "cloud").mkdir(parents=True)
        with closing(Cloud(where / "cloud")) as cloud:
            tenant = cloud.tenant("acme")
            stage = cls(where, tenant, cloud.project(tenant))
        (where / "names.json").write_text(json.dumps([stage.tenant, stage.project]))
        return stage

    @classmethod
    def at(cls, where: Path) -> Self:
        return cls(where, *json.loads((where / "names.json").read_text()))

    def copy(self, where: Path) -> Self:
        shutil.copytree(self.where, where, symlinks=True)
        return type(self)(where, self.tenant, self.project)

    @property
    def ann(self) -> Path:
        return self.where / "ann"

    @property
    def bob(self) -> Path:
        return self.where / "bob"

    @property
    def acks(self) -> Path:
        return self.where / "acks"

    def peer(self, cloud: Cloud) -> Acking:
        return Acking(cloud, self.tenant, "Ann", acks=self.acks)

    def sync(self, root: Path, peer: Peer) -> SyncReport:
        with closing(opened(root)) as worktree:
            return run(worktree, peer, self.project)

    def head(self, cloud: Cloud) -> int:
        return cloud.peer(self.tenant).head(self.project).version


@dataclass
class Acking(InProcessPeer):
    """Writes down what was acknowledged, as soon as it was heard."""

    acks: Path = Path()

    def sync(
        self, project: str, stream: Iterable[bytes], declared: int, key: str, *, allowed: Sequence[str] = ()
    ) -> Committed:
        return acknowledged(self.acks, super().sync(project, stream, declared, key, allowed=allowed))


def acknowledged(acks: Path, answer: Committed) -> Committed:
    with acks.open("a") as file:
        file.write(f"{answer.version} {answer.digest}\n")
    return answer


def opened(root: Path) -> Worktree:
    (root / ".satchel").mkdir(parents=True, exist_ok=True)
    return Worktree.open(root, state_path=root / ".satchel" / "state.db")


def put(root: Path, files: dict[str, str | bytes | None]) -> None:
    """Write files, and delete those that are ``None``."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            (root / path).unlink()
        else:
            (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())


def lines(changed: dict[int, str]) -> str:
    return "".join(changed.get(n, f"line {n}") + "\n" for n in range(1, 10))


def noise(seed: int, size: int = 3_000) -> bytes:
    """Bytes that do not compress."""
    return b"".join(object_id(b"%d %d" % (seed, n)).encode() for n in range(size // 64))


BASE: dict[str, str | bytes | None] = {
    "docs/kept.md": "# Kept\n",
    "docs/edited.md": "# Edited, first\n",
    "docs/gone/deep.md": "# To be deleted\n",
    "clean.md": lines({}),
    "marked.md": lines({1: "of marked"}),
    "picture.bin": b"\0first",
    "split.md": "# To be deleted here and edited there\n",
    "old name.md": lines({9: "of the renamed"}),
    "other name.md": lines({9: "of the other"}),
}
THEIRS: dict[str, str | bytes | None] = {
    "docs/edited.md": "# Edited by Bob\n",
    "docs/gone/deep.md": None,
    "docs/new/by-bob.md": "# New, by Bob\n",
    "large-by-bob.bin": b"\0" + noise(1, 200_000),
}
MINE: dict[str, str | bytes | None] = {
    "docs/kept.md": "# Kept, and edited by Ann\n",
    "plans/by-ann.md": "# New, by Ann\n",
    "large-by-ann.bin": b"\0" + noise(2, 200_000),
    "old name.md": None,
    "new name.md": lines({9: "of the renamed"}),
}


class Scene:
    """A command, on the disk that ``build`` makes."""

    name = ""
    client = True
    """Whether it is Ann's command; else it is the server's own work."""
    talks = True
    """Whether it needs the other side."""

    def build(self, stage: Stage, cloud: Cloud) -> None:
        put(stage.ann, BASE)
        stage.sync(stage.ann, cloud.peer(stage.tenant))
        stage.sync(stage.bob, cloud.peer(stage.tenant, "Bob"))

    def theirs(self, stage: Stage, cloud: Cloud, files: dict[str, str | bytes | None]) -> None:
        put(stage.bob, files)
        stage.sync(stage.bob, cloud.peer(stage.tenant, "Bob"))

    def act(self, stage: Stage, peer: Peer | None) -> None:
        """The command. ``peer`` is the server where there is one to talk to."""
        assert peer is not None
        stage.sync(stage.ann, peer)

    def serve(self, stage: Stage, cloud: Cloud) -> None:
        """What the server does, where that is the command."""

    def finish(self, stage: Stage, cloud: Cloud) -> None:
        """What a person does after the crash: the same again."""
        self.act(stage, stage.peer(cloud))


class Push(Scene):
    name = "push"

    def build(self, stage: Stage, cloud: Cloud) -> None:
        super().build(stage, cloud)
        put(stage.ann, {**MINE, "docs/gone/deep.md": None})


class Edit(Scene):
    """A person saves files, which nobody syncs, and then syncs the folder."""

    name = "edit"

    def act(self, stage: Stage, peer: Peer | None) -> None:
        put(stage.ann, {**MINE, "docs/gone/deep.md": None})
        self.finish(stage, peer)

    def finish(self, stage: Stage, cloud: Cloud | Peer | None) -> None:
        assert cloud is not None
        stage.sync(stage.ann, stage.peer(cloud) if isinstance(cloud, Cloud) else cloud)


class Pull(Scene):
    name = "pull"

    def build(self, stage: Stage, cloud: Cloud) -> None:
        super().build(stage, cloud)
        self.theirs(stage, cloud, {**THEIRS, "split.md": "# Edited by Bob alone\n"})


class Merge(Scene):
    """Both changed things: apart, in the same file, in the same line, one renamed, one deleted."""

    name = "merge"

    def build(self, stage: Stage, cloud: Cloud) -> None:
        super().build(stage, cloud)
        both: dict[str, str | bytes | None] = {
            "clean.md": lines({8: "by Bob"}),
            "marked.md": lines({1: "of marked", 5: "by Bob"}),
            "picture.bin": b"\0by Bob",
            "split.md": "# Edited by Bob, deleted by Ann\n",
            "old name.md": lines({2: "by Bob", 9: "of the renamed"}),
            "other name.md": None,
            "renamed by Bob.md": lines({9: "of the other"}),
        }
        self.theirs(stage, cloud, {**THEIRS, **both})
        put(stage.ann, MINE)
        put(
            stage.ann,
            {
                "clean.md": lines({2: "by Ann"}),
                "marked.md": lines({1: "of marked", 5: "by Ann"}),
                "picture.bin": b"\0by Ann",
                "split.md": None,
                "other name.md": lines({2: "by Ann", 9: "of the other"}),
            },
        )


class Resolve(Merge):
    name = "resolve"
    talks = False
    takes = (("marked.md", Take.LOCAL), ("picture.bin", Take.BOTH), ("split.md", Take.CLOUD))

    def build(self, stage: Stage, cloud: Cloud) -> None:
        super().build(stage, cloud)
        stage.sync(stage.ann, cloud.peer(stage.tenant))

    def act(self, stage: Stage, peer: Peer | None) -> None:
        with closing(opened(stage.ann)) as worktree:
            for path, take in self.takes:
                with suppress(InvalidInput):  # decided already, before the crash
                    resolve(worktree, [path], take)

    def finish(self, stage: Stage, cloud: Cloud) -> None:
        self.act(stage, None)
        stage.sync(stage.ann, stage.peer(cloud))


class Undo(Pull):
    name = "undo"
    talks = False

    def build(self, stage: Stage, cloud: Cloud) -> None:
        super().build(stage, cloud)
        stage.sync(stage.ann, cloud.peer(stage.tenant))

    def act(self, stage: Stage, peer: Peer | None) -> None:
        with closing(opened(stage.ann)) as worktree:
            undo(worktree)

    def finish(self, stage: Stage, cloud: Cloud) -> None:
        """A sync in between sends nothing; then it is undone until it is undone, and that is what counts."""
        before = stage.head(cloud)
        assert stage.sync(stage.ann, stage.peer(cloud)).pushed == []
        assert stage.head(cloud) == before
        base = {path: content.encode() if isinstance(content, str) else content for path, content in BASE.items()}
        for _ in range(4):  # undone in part, that part is taken back first
            if files(stage.ann) == base:
                break
            self.act(stage, None)
        with closing(opened(stage.ann)) as worktree:
            for path in (*THEIRS, "split.md"):
                with suppress(InvalidInput):
                    resolve(worktree, [path], Take.LOCAL)
        stage.sync(stage.ann, stage.peer(cloud))


class Index(Push):
    """A search in a folder that has changed since the last one."""

    name = "index"
    talks = False

    def build(self, stage: Stage, cloud: Cloud) -> None:
        super().build(stage, cloud)
        self.act(stage, None)
        put(stage.ann, {"docs/kept.md": "# Kept\n\nline once more\n", "plans/more.md": "# More\n\nline upon line\n"})

    def act(self, stage: Stage, peer: Peer | None) -> None:
        (stage.where / "hits").write_text(self.hits(stage))

    def hits(self, stage: Stage) -> str:
        local = stage.ann / ".satchel"
        with closing(opened(stage.ann)) as worktree:
            rules = worktree.rules
        project = LocalProject("prj_0", "notes", stage.ann, rules, local / "state.db", local / "index.db")
        with closing(LocalReader([project])) as reader:
            found = reader.search("line")
        return json.dumps(found["hits"])

    def finish(self, stage: Stage, cloud: Cloud) -> None:
        self.act(stage, None)
        hits = self.hits(stage)
        (stage.ann / ".satchel/index.db").unlink()
        assert hits == self.hits(stage), "an index made anew answers otherwise"


class Collect(Scene):
    """Old versions expire, packs die and are rewritten, an upload nobody committed is swept away."""

    name = "collect"
    client = False

    def build(self, stage: Stage, cloud: Cloud) -> None:
        put(stage.ann, BASE | {f"{n}.bin": noise(n + 10) for n in range(4)})
        stage.sync(stage.ann, cloud.peer(stage.tenant))
        for n in range(4):
            put(stage.ann, {f"{n % 3}.bin": noise(n + 20, 128)})
            stage.sync(stage.ann, cloud.peer(stage.tenant))
        data = noise(99)
        frames = [encode_frame(frame) for frame in make_frames([(object_id(data), data)])]
        sent = [*encode_preamble(None, None, []), encode_pack_start(), *frames, encode_pack_end(len(frames))]
        cloud.peer(stage.tenant).packs(stage.project, sent, 64 << 20)

        async def keep() -> None:
            async with cloud.catalog.write(stage.tenant) as s:
                await retention.set_(s, Retention(1, None))

        cloud.wait(keep())
        for path in (cloud.folder / "store").rglob("*"):
            if path.is_file():
                old = path.stat().st_mtime_ns - 10 * DAY_NS
                os.utime(path, ns=(old, old))

    def serve(self, stage: Stage, cloud: Cloud) -> None:
        cloud.ticks += 2 * LEASE_MS
        cloud.wait(collect(cloud.estate, stage.tenant, window_ms=0))

    def finish(self, stage: Stage, cloud: Cloud) -> None:
        cloud.ticks += 6 * LEASE_MS
        cloud.wait(collect(cloud.estate, stage.tenant, window_ms=0))
        for path in (cloud.folder / "store").rglob("*"):  # what the crash left becomes old
            if path.is_file():
                old = path.stat().st_mtime_ns - 10 * DAY_NS
                os.utime(path, ns=(old, old))
        for _ in range(2):
            cloud.ticks += 6 * LEASE_MS
            cloud.wait(collect(cloud.estate, stage.tenant, window_ms=0))
        cloud.ticks += 6 * LEASE_MS
        last = cloud.wait(collect(cloud.estate, stage.tenant, window_ms=0))
        assert last == CollectReport(dry=False, projects=1), "the next runs found all there was to do"


SCENES: dict[str, Scene] = {
    scene.name: scene for scene in (Push(), Pull(), Merge(), Resolve(), Undo(), Collect(), Index(), Edit())
}


def files(root: Path) -> dict[str, bytes]:
    """Every file of a folder but Satchel's own."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".satchel" not in path.parts
    }
