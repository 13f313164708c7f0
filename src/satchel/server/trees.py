"""What the newest versions of projects hold, kept in memory: trees by path, and the content of small artifacts.

Both never change under their names: a tree is named by project, lineage and version, content by its hash. What may be
given is decided elsewhere, by the head as the catalog has it now: content is remembered of the head's artifacts alone,
and a purge takes what it purges out of the head before anything else. All of it can be forgotten at any time, and is
where a tenant or content is no more.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, NamedTuple, TypeVar

from satchel.catalog import versions
from satchel.catalog.scope import Catalog, Scope
from satchel.catalog.versions import MAX_FILES, EntryRow
from satchel.errors import VersionExpired
from satchel.objects.ids import ObjectId, TenantId
from satchel.server.indexes import Ref

MAX_TREE_ROWS = 150_000
"""Rows of trees kept in memory, all tenants together: about 80 MB."""
TREES_OF_ONE = 2
"""Trees kept of one project: each commit makes another, and few questions are about an old one."""
MAX_CONTENT_BYTES = 64 * 1024 * 1024
MAX_ONE_CONTENT = 256 * 1024
"""Larger artifacts are read from the store each time."""
CONTENT_OVERHEAD = 256
"""What is counted for each beside its bytes, so that a crowd of empty ones is bounded too."""
T = TypeVar("T")
K = TypeVar("K")
Rows = dict[str, EntryRow]


class _Tree(NamedTuple):
    """The rows of one version by path."""

    lineage: str
    version: int
    rows: Rows


class Weighed(Generic[K, T]):
    """Values by project and name, the least recently used forgotten first where all together weigh too much."""

    def __init__(self, most: int) -> None:
        self._most, self._weight = most, 0
        self._kept: OrderedDict[tuple[Ref, K], tuple[T, int]] = OrderedDict()
        self._names: dict[Ref, set[K]] = {}

    def get(self, ref: Ref, name: K) -> T | None:
        """For any thread: it only looks."""
        found = self._kept.get((ref, name))
        return None if found is None else found[0]

    def use(self, ref: Ref, name: K) -> T | None:
        """The same, and it counts as used."""
        found = self._kept.get((ref, name))
        if found is None:
            return None
        self._kept.move_to_end((ref, name))
        return found[0]

    def keep(self, ref: Ref, name: K, value: T, weight: int) -> None:
        """Keep one, unless it is there; the newest stays even if it is too heavy by itself."""
        if (ref, name) in self._kept:
            return
        self._kept[ref, name] = value, weight
        self._names.setdefault(ref, set()).add(name)
        self._weight += weight
        while self._weight > self._most and len(self._kept) > 1:
            self._drop(*next(iter(self._kept)))

    def names(self, ref: Ref) -> set[K]:
        """The names of what is kept of a project."""
        return self._names.get(ref, set())

    def drop(self, ref: Ref, names: set[K]) -> None:
        """Keep these of a project no longer."""
        for name in names & self.names(ref):
            self._drop(ref, name)

    def forget(self, ref: Ref) -> None:
        """Keep nothing of a project."""
        self.drop(ref, set(self.names(ref)))

    def forget_tenant(self, tenant: TenantId) -> None:
        """Keep nothing of a tenant."""
        for ref in [ref for ref in self._names if ref.tenant == tenant]:
            self.forget(ref)

    def _drop(self, ref: Ref, name: K) -> None:
        self._weight -= self._kept.pop((ref, name))[1]
        names = self._names[ref]
        names.discard(name)
        if not names:
            del self._names[ref]


class Trees:
    """One for a process; its methods are for the event loop, unless they say otherwise."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.moment = 0
        """How often something was to be forgotten: what was begun to be read before that is not kept."""
        # Of each project those used last, the newest use first; never changed in place, since other threads look.
        self._trees: OrderedDict[Ref, tuple[_Tree, ...]] = OrderedDict()
        self.rows = 0
        """Files in all the trees that are kept."""
        self.contents: Weighed[ObjectId, bytes] = Weighed(MAX_CONTENT_BYTES)

    def known(self, ref: Ref, lineage: str, version: int) -> Rows | None:
        """The tree of a version if it is in memory. For any thread: it only looks."""
        for tree in self._trees.get(ref, ()):
            if (tree.lineage, tree.version) == (lineage, version):
                return tree.rows
        return None

    async def tree(self, ref: Ref, lineage: str, version: int) -> Rows:
        """The tree of a version by path, from memory where it was read lately.

        Where an earlier one was, only what changed since is read.
        """
        rows, moment = self.known(ref, lineage, version), self.moment
        if rows is None:
            if version == 0:
                return {}
            async with self._catalog.read(ref.tenant) as s:
                rows = await self._followed(s, ref, lineage, version)
                if rows is None:
                    rows = {row.path: row for row in await versions.tree(s, ref.project, version)}
        if moment == self.moment:
            self._keep(ref, _Tree(lineage, version, rows))
        return rows

    async def _followed(self, s: Scope, ref: Ref, lineage: str, version: int) -> Rows | None:
        """The newest earlier tree in memory, with what changed since; None if there is none to begin from."""
        earlier = [tree for tree in self._trees.get(ref, ()) if tree.lineage == lineage and tree.version < version]
        if not earlier:
            return None
        before = max(earlier, key=lambda tree: tree.version)
        try:
            changed = await versions.changes(s, ref.project, before.version, version, limit=2 * MAX_FILES)
        except VersionExpired:
            return None
        rows, gone = dict(before.rows), set[ObjectId]()
        for row in changed:
            was = rows.pop(row.path, None)
            if was is not None:
                gone.add(was.object)
            if not row.deleted:
                rows[row.path] = EntryRow._make((row.path, *row[2:]))
        gone &= self.contents.names(ref)
        if gone:  # else nobody has to look at every file
            self.contents.drop(ref, gone - {row.object for row in rows.values()})
        return rows

    def _keep(self, ref: Ref, tree: _Tree) -> None:
        known = self._trees.pop(ref, ())
        kept = (tree, *[other for other in known if other[:2] != tree[:2]])[:TREES_OF_ONE]
        self._trees[ref] = kept
        self.rows += _rows_of(kept) - _rows_of(known)
        while self.rows > MAX_TREE_ROWS and len(self._trees) > 1:
            self.rows -= _rows_of(self._trees.popitem(last=False)[1])

    def keep_content(self, ref: Ref, name: ObjectId, data: bytes, moment: int) -> None:
        """Remember the content of an artifact of the head, unless it is large. Its reading began at ``moment``."""
        if moment == self.moment and len(data) <= MAX_ONE_CONTENT:
            self.contents.keep(ref, name, data, len(data) + CONTENT_OVERHEAD)

    def forget(self, ref: Ref) -> None:
        """Keep nothing of a project: titles of its trees, or content, may be what was purged."""
        self.moment += 1
        self.rows -= _rows_of(self._trees.pop(ref, ()))
        self.contents.forget(ref)

    def forget_tenant(self, tenant: TenantId) -> None:
        """Keep nothing of a tenant that is no more."""
        for ref in [ref for ref in self._trees if ref.tenant == tenant]:
            self.forget(ref)
        self.moment += 1
        self.contents.forget_tenant(tenant)


def _rows_of(trees: tuple[_Tree, ...]) -> int:
    return sum([len(tree.rows) for tree in trees])
