"""`subscriptions/listen` at /mcp, by the official client: one hears of what one may read, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import pytest
from mcp.client import Client as McpClient
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated

from tests.mcp.test_http import _connected
from tests.server.running import Client, Running, serving, until

A, B = "satchel://tides/a.md", "satchel://tides/b.md"


class World(NamedTuple):
    server: Running
    owner: Client
    reader: Client
    stranger: Client
    """Owns another tenant, with a project of the same name."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("listening") / "data") as server:
        owner, stranger = server.tenant("acme"), server.tenant("other")
        for one in (owner, stranger):
            one.post("/projects", {"slug": "tides"}).ok()
            one.put("tides", "a.md", b"there from the beginning").ok()
        owner.post("/projects", {"slug": "hidden"}).ok()
        only = [{"project": "tides", "role": "read"}]
        reader = server.client(owner.post("/keys", {"name": "reader", "projects": only}).ok()["key"])
        yield World(server, owner, reader, stranger)


def write(client: Client, path: str, text: str, project: str = "tides") -> None:
    there = client.get(f"/projects/{project}/artifacts/{path}")
    match = there.headers["etag"] if there.status == 200 else None
    client.put(project, path, text.encode(), match).ok()


async def heard(events: Any) -> Any:
    with anyio.fail_after(30):
        return await anext(events)


def run(client: Client, talk: Any, **asked: Any) -> None:
    async def main() -> None:
        async with _connected(client, "2026-07-28") as mcp, mcp.listen(**asked) as events:
            await talk(mcp, events)

    anyio.run(main)


def in_thread(work: Any, *arguments: Any) -> Any:
    return anyio.to_thread.run_sync(work, *arguments)


def test_a_change_is_told_to_who_named_the_resource(world: World) -> None:
    async def talk(mcp: McpClient, events: Any) -> None:
        assert events.honored.resource_subscriptions == [A, B]
        await in_thread(write, world.owner, "c.md", "nobody asked")
        await in_thread(write, world.owner, "a.md", "one")
        assert await heard(events) == ResourceUpdated(uri=A)
        assert (await mcp.read_resource(A)).contents[0].text == "one"  # type: ignore[union-attr]
        await in_thread(write, world.owner, "b.md", "two")
        assert await heard(events) == ResourceUpdated(uri=B)

    run(world.reader, talk, resource_subscriptions=[A, B])


def test_a_resource_that_is_named_twice_is_told_by_each_of_its_names(world: World) -> None:
    other = "satchel://tides/%61.md"

    async def talk(mcp: McpClient, events: Any) -> None:
        await in_thread(write, world.owner, "a.md", "of two names")
        assert {(await heard(events)).uri for _ in range(2)} == {A, other}

    run(world.reader, talk, resource_subscriptions=[A, other])


def test_another_list_is_told_and_another_content_is_none(world: World) -> None:
    async def talk(mcp: McpClient, events: Any) -> None:
        await in_thread(write, world.owner, "of-the-list.md", "one")
        assert await heard(events) == ResourcesListChanged()
        await in_thread(write, world.owner, "of-the-list.md", "two")
        await in_thread(write, world.owner, "a.md", "so that something is heard")
        assert await heard(events) == ResourceUpdated(uri=A)

    run(world.reader, talk, resources_list_changed=True, resource_subscriptions=[A])


def test_a_project_by_another_name_is_another_list(world: World) -> None:
    def named(slug: str) -> None:
        world.owner.send("PATCH", f"/projects/{made['id']}", {"slug": slug}).ok()

    async def talk(mcp: McpClient, events: Any) -> None:
        await in_thread(named, "flood")
        assert await heard(events) == ResourcesListChanged()
        assert [r.uri for r in (await mcp.list_resources()).resources if "flood" in r.uri] == ["satchel://flood/a.md"]

    made = world.owner.post("/projects", {"slug": "ebb"}).ok()
    world.owner.put("ebb", "a.md", b"one").ok()
    run(world.owner, talk, resources_list_changed=True)
    world.owner.send("DELETE", f"/projects/{made['id']}").ok()


@pytest.mark.promise("P5")
def test_nobody_hears_of_what_it_may_not_read(world: World) -> None:
    hidden = "satchel://hidden/a.md"

    async def stranger(mcp: McpClient, events: Any) -> None:
        await in_thread(write, world.owner, "a.md", "a tide of another tenant")
        await in_thread(write, world.stranger, "b.md", "its own")
        assert await heard(events) == ResourceUpdated(uri=B)

    async def reader(mcp: McpClient, events: Any) -> None:
        assert events.honored.resource_subscriptions == sorted([A, hidden, "satchel://nowhere/a.md"])
        await in_thread(write, world.owner, "a.md", "of a project it has no role on", "hidden")
        await in_thread(write, world.owner, "a.md", "of its own project")
        assert await heard(events) == ResourceUpdated(uri=A)

    run(world.stranger, stranger, resource_subscriptions=[A, B])
    run(world.reader, reader, resource_subscriptions=[A, hidden, "satchel://nowhere/a.md"])


@pytest.mark.promise("P5")
def test_a_listener_whose_key_is_revoked_is_let_go_and_leaves_nothing(world: World) -> None:
    made = world.owner.post("/keys", {"name": "short", "role": "read"}).ok()

    async def talk(mcp: McpClient, events: Any) -> None:
        await in_thread(lambda: world.owner.send("DELETE", f"/keys/{made['id']}").ok())
        with anyio.fail_after(30):
            assert [event async for event in events] == []

    run(world.server.client(made["key"]), talk, resource_subscriptions=[A])
    until(lambda: world.server.cloud.listeners.all == 0)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("uris", [["file:///etc/passwd"], [f"satchel://tides/{n}" for n in range(1_001)]])
def test_what_cannot_be_watched_is_refused(world: World, uris: list[str]) -> None:
    async def talk(mcp: McpClient, events: Any) -> None:
        raise AssertionError("it listens")

    with pytest.raises((MCPError, ExceptionGroup)) as refused:
        run(world.reader, talk, resource_subscriptions=uris)
    assert "it listens" not in str(refused.value)


@pytest.mark.promise("P8")
def test_a_credential_names_so_many_resources_in_all_however_it_spreads_them(world: World) -> None:
    named = [f"satchel://tides/{n}.md" for n in range(900)]

    async def again(mcp: McpClient, events: Any) -> None:
        raise AssertionError("it listens")

    async def talk(mcp: McpClient, events: Any) -> None:
        def more() -> None:
            run(world.reader, again, resource_subscriptions=named)

        with pytest.raises((MCPError, ExceptionGroup)) as refused:
            await in_thread(more)
        assert "it listens" not in str(refused.value)

    run(world.reader, talk, resource_subscriptions=named)
    until(lambda: world.server.cloud.listeners.all == 0)
