"""History: one chain, made by compare-and-set, readable at every point."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from satchel.catalog import audit, idempotency, projects, versions
from satchel.catalog.scope import Catalog, CatalogUnavailable
from satchel.catalog.versions import ChangeIn, Head, ProjectArchived, changes, entry_at, head, tree
from satchel.errors import HeadMoved, InvalidInput, NoSuchProject, NoSuchVersion, ObjectsMissing, TooLarge
from satchel.objects.ids import Lineage, ProjectId, new_id
from satchel.objects.listing import digest
from tests.catalog.make import NOW, PROJECT, Tenants, digest_of, files, hold, lengthen, named, new_project

pytestmark = pytest.mark.anyio

TEXTS = ("one", "two", "three")


async def start(catalog: Catalog, tenants: Tenants) -> None:
    """Versions 1 (three files) and 2 (one edited, one deleted, one new)."""
    async with catalog.write(tenants.a) as s:
        pack = await hold(s, *TEXTS)
        await lengthen(s, {"a.md": "one", "b.md": "two", "c.md": "three"}, packs=[pack])
        await lengthen(s, {"a.md": "two", "b.md": None, "d.md": "one"}, author="Bob")


async def test_a_new_project_is_at_version_0_with_the_digest_of_nothing(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.read(tenants.a) as s:
        assert await head(s, PROJECT) == Head(Lineage("lin_1"), 0, digest({}))
        assert await tree(s, PROJECT) == []
        assert await versions.versions(s, PROJECT) == []


@pytest.mark.promise("P4")
async def test_a_commit_makes_the_next_version_and_the_old_one_stays_readable(
    catalog: Catalog, tenants: Tenants
) -> None:
    await start(catalog, tenants)
    async with catalog.read(tenants.a) as s:
        assert await head(s, PROJECT) == ("lin_1", 2, digest_of(2))
        assert [(e.path, e.object, e.version, e.author, e.time) for e in await tree(s, PROJECT)] == [
            ("a.md", named("two"), 2, "Bob", NOW + 2),
            ("c.md", named("three"), 1, "Ann", NOW + 1),
            ("d.md", named("one"), 2, "Bob", NOW + 2),
        ]
        assert [(e.path, e.object) for e in await tree(s, PROJECT, 1)] == [
            ("a.md", named("one")),
            ("b.md", named("two")),
            ("c.md", named("three")),
        ]
        assert await entry_at(s, PROJECT, "b.md") is None
        assert await entry_at(s, PROJECT, "b.md", 1) == (
            "b.md",
            "100644",
            named("two"),
            10,
            "note",
            "Title of two",
            1,
            "Ann",
            NOW + 1,
            "person",
        )
        assert set(await versions.entries_at(s, PROJECT, ["a.md", "b.md", "x"])) == {"a.md"}
        second, first = await versions.versions(s, PROJECT)
        assert (first.added, first.changed, first.deleted) == (3, 0, 0)
        assert (second.added, second.changed, second.deleted, second.record) == (1, 1, 1, "rec_2")
        assert await versions.version(s, PROJECT, 2) == second
        assert await versions.versions(s, PROJECT, before=2, limit=5) == [first]
        row = await projects.get(s, "acme")
        assert row is not None
        assert (row.version, row.files, row.bytes) == (2, 3, 30)


async def test_changes_are_what_the_later_version_has_otherwise(catalog: Catalog, tenants: Tenants) -> None:
    await start(catalog, tenants)
    async with catalog.read(tenants.a) as s:
        assert [(c.path, c.deleted, c.object, c.version, c.author) for c in await changes(s, PROJECT, 1, 2)] == [
            ("a.md", False, named("two"), 2, "Bob"),
            ("b.md", True, "", 2, "Bob"),
            ("d.md", False, named("one"), 2, "Bob"),
        ]
        assert [c.path for c in await changes(s, PROJECT, 0, 2)] == ["a.md", "c.md", "d.md"]
        assert [c.path for c in await changes(s, PROJECT, 0, 1)] == ["a.md", "b.md", "c.md"]
        assert await changes(s, PROJECT, 2, 2) == []
        assert [c.path for c in await changes(s, PROJECT, 1, 2, "a.md", 1)] == ["b.md"]


async def test_a_change_that_changes_nothing_leaves_the_files_history_alone(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        await lengthen(s, {"a.md": "one"}, packs=[await hold(s, *TEXTS)])
        await lengthen(s, {"a.md": "one"})
        assert [entry.version for entry in await tree(s, PROJECT)] == [1]
        assert await changes(s, PROJECT, 1, 2) == []


histories = st.lists(
    st.dictionaries(st.sampled_from(["a", "a.b", "a/b", "ä", "z"]), st.sampled_from([*TEXTS, None]), max_size=4),
    max_size=6,
)


@given(histories)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_every_tree_and_every_difference_agrees_with_a_plain_model(
    catalog: Catalog, tenants: Tenants, history: list[Mapping[str, str | None]]
) -> None:
    async with catalog.write(tenants.a) as s:
        project = await new_project(s, slug := new_id("x", s.random(16)), ProjectId(new_id("prj", s.random(16))))
        await hold(s, *TEXTS, project=project, pack=slug)
        trees: list[dict[str, str]] = [{}]
        for step in history:
            wanted = {path: text for path, text in step.items() if text is not None or path in trees[-1]}
            await lengthen(s, wanted, project=project)
            kept = {path: text for path, text in trees[-1].items() if path not in wanted}
            trees.append(kept | {path: text for path, text in wanted.items() if text is not None})
        for at, expected in enumerate(trees[1:], start=1):
            assert {e.path: e.object for e in await tree(s, project, at)} == {p: named(t) for p, t in expected.items()}
            for since, before in enumerate(trees[: at + 1]):
                found = {c.path: c for c in await changes(s, project, since, at)}
                applied = {path: named(text) for path, text in before.items()}
                for path, change in found.items():
                    if change.deleted:
                        del applied[path]  # a deletion is of something that was there
                    else:
                        applied[path] = change.object
                assert applied == {path: named(text) for path, text in expected.items()}
                paged = [c for path in ["", *sorted(found)] for c in await changes(s, project, since, at, path, 1)]
                assert [c.path for c in paged] == sorted(found)


@pytest.mark.promise("P4")
async def test_a_commit_on_an_older_head_is_refused_naming_the_head_and_loses_nothing(
    catalog: Catalog, tenants: Tenants
) -> None:
    await start(catalog, tenants)
    stale = Head(Lineage("lin_1"), 1, digest_of(1))
    for parent in (
        stale,
        stale._replace(version=2),
        stale._replace(digest=digest_of(2)),  # the same content as the head has, some versions ago
        Head(Lineage("lin_2"), 2, digest_of(2)),
    ):
        with pytest.raises(HeadMoved) as caught:
            async with catalog.write(tenants.a) as s:
                await lengthen(s, {"a.md": "three"}, parent=parent)
        assert caught.value.facts == {"lineage": "lin_1", "version": 2, "digest": digest_of(2)}
    async with catalog.read(tenants.a) as s:
        assert (await head(s, PROJECT)).version == 2
        assert [e.version for e in await tree(s, PROJECT)] == [2, 1, 2]


@pytest.mark.promise("P4")
async def test_twenty_committers_at_once_make_one_unbroken_chain(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        await hold(s, *TEXTS)
    won: list[int] = []
    lost: list[HeadMoved] = []

    async def committer(number: int) -> None:
        async with catalog.read(tenants.a) as s:
            parent = await head(s, PROJECT)
        while True:
            try:
                async with catalog.write(tenants.a) as s:
                    made = await lengthen(s, {f"{number}.md": "one"}, parent=parent, author=str(number))
            except HeadMoved as moved:
                lost.append(moved)
                parent = Head(*[moved.facts[name] for name in Head._fields])  # type: ignore[arg-type]
            else:
                won.append(made.version)
                return

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(committer, number)
    assert sorted(won) == list(range(1, 21))
    assert lost  # they did race
    async with catalog.read(tenants.a) as s:
        chain = await versions.versions(s, PROJECT, limit=100)
        assert [row.version for row in chain] == list(range(20, 0, -1))
        assert len({row.author for row in chain}) == 20
        assert len(await tree(s, PROJECT)) == 20


@pytest.mark.promise("P4")
@pytest.mark.promise("P6")
async def test_a_transaction_that_fails_at_its_end_leaves_nothing_of_the_commit(
    catalog: Catalog, tenants: Tenants
) -> None:
    await start(catalog, tenants)
    async with catalog.read(tenants.a) as s:
        before = (await head(s, PROJECT), await tree(s, PROJECT), len(await audit.list_(s)))

    async def commit_and_die() -> None:
        async with catalog.write(tenants.a) as s:
            await lengthen(s, {"a.md": None, "e.md": "one"})
            await audit.record(s, None, "commit", PROJECT, "done", "req_1", NOW)
            await idempotency.save(s, "mem_1", "sync", "key", "hash", "{}", NOW)
            raise RuntimeError("the process would have died here")

    with pytest.raises(RuntimeError):
        await commit_and_die()
    async with catalog.read(tenants.a) as s:
        assert (await head(s, PROJECT), await tree(s, PROJECT), len(await audit.list_(s))) == before
        assert await idempotency.find(s, "mem_1", "sync", "key", "hash", NOW) is None


@pytest.mark.promise("P4")
async def test_a_commit_names_only_objects_the_project_holds(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        other = await new_project(s, "other", ProjectId(new_id("prj", b"o" * 16)))
        await hold(s, "one", project=other)  # another project of the same tenant holds it
    async with catalog.write(tenants.b) as s:
        await hold(s, "one")  # and so does the same project id of another tenant
    with pytest.raises(ObjectsMissing) as caught:
        async with catalog.write(tenants.a) as s:
            await lengthen(s, {"a.md": "one", "b.md": "one"})
    assert caught.value.facts == {"objects": [named("one")]}


async def test_a_path_named_twice_or_a_deletion_of_nothing_is_refused(catalog: Catalog, tenants: Tenants) -> None:
    await start(catalog, tenants)
    for wanted in ([*files({"a.md": "one"}), *files({"a.md": "two"})], [ChangeIn("never.md")], [ChangeIn("b.md")]):
        with pytest.raises(InvalidInput):
            async with catalog.write(tenants.a) as s:
                await lengthen(s, wanted)


@pytest.mark.promise("P8")
async def test_a_project_has_a_greatest_number_of_files(
    catalog: Catalog, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start(catalog, tenants)
    monkeypatch.setattr(versions, "MAX_FILES", 3)
    with pytest.raises(TooLarge):
        async with catalog.write(tenants.a) as s:
            await lengthen(s, {"e.md": "one"})
    async with catalog.write(tenants.a) as s:
        await lengthen(s, {"e.md": "one", "a.md": None})


async def test_an_archived_project_can_be_read_and_not_changed(catalog: Catalog, tenants: Tenants) -> None:
    await start(catalog, tenants)
    async with catalog.write(tenants.a) as s:
        assert await projects.archive(s, PROJECT, NOW)
        assert await projects.archive(s, PROJECT, NOW + 1)
        archived = await projects.get(s, PROJECT)
    assert archived is not None
    assert archived.archived == NOW
    with pytest.raises(ProjectArchived):
        async with catalog.write(tenants.a) as s:
            await lengthen(s, {"a.md": "one"})
    async with catalog.write(tenants.a) as s:
        assert len(await tree(s, PROJECT)) == 3
        assert await projects.archive(s, PROJECT, None)
        await lengthen(s, {"a.md": "one"})


async def test_what_is_not_there_is_named(catalog: Catalog, tenants: Tenants) -> None:
    await start(catalog, tenants)
    async with catalog.read(tenants.a) as s:
        for at in (0, -1, 3, 10**9):
            with pytest.raises(NoSuchVersion):
                await tree(s, PROJECT, at)
        for number in (-1, 3, 10**30):
            with pytest.raises(NoSuchVersion):
                await versions.version(s, PROJECT, number)
        with pytest.raises(NoSuchProject):
            await head(s, "prj_absent")


async def test_a_commit_larger_than_one_in_list_is_whole(catalog: Catalog, tenants: Tenants) -> None:
    texts = [f"text {number}" for number in range(2_500)]
    async with catalog.write(tenants.a) as s:
        await hold(s, *texts)
        await lengthen(s, {f"{number:04}.md": text for number, text in enumerate(texts)})
        await lengthen(s, {f"{number:04}.md": None for number in range(2_400)})
        assert len(await tree(s, PROJECT)) == 100
        assert len(await changes(s, PROJECT, 1, 2)) == 2_400


@pytest.mark.promise("P6")
async def test_a_cancelled_commit_leaves_the_catalog_usable(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        await hold(s, *TEXTS)
    for checkpoints in range(0, 12, 3):
        with anyio.CancelScope() as scope:
            async with catalog.write(tenants.a) as s:
                await lengthen(s, {"a.md": "one"})
                for _ in range(checkpoints):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
                await anyio.lowlevel.checkpoint()
    try:
        async with catalog.write(tenants.a) as s:
            made = await lengthen(s, {"a.md": "two"})
    except CatalogUnavailable:  # pragma: no cover - would mean that the writer was lost
        pytest.fail("the writer's connection was not given back")
    assert made.version == 1
