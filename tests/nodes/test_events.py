"""Whoever listens at one node hears of what was committed through another; nothing but the database is shared."""

from __future__ import annotations

import anyio
import pytest
from mcp.shared.subscriptions import ResourcesListChanged

from tests.journeys.conftest import People
from tests.journeys.test_watch import comes_to_be, watching
from tests.mcp.test_http import _connected
from tests.nodes.conftest import Cluster
from tests.server.test_events import listening_to

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]  # three processes on a busy machine take a while to start


@pytest.mark.promise("P4")
def test_a_listener_at_one_node_hears_of_commits_through_the_others_in_their_order(cluster: Cluster) -> None:
    here, *others = cluster.clients(cluster.tenant())
    here.post("/projects", {"slug": "demo"}).ok()
    with listening_to(here, "demo") as ear:
        assert ear.next()[1]["version"] == 0
        for number, there in enumerate([*others, *others], start=1):
            made = there.put("demo", f"{number}.md", b"# News\n").ok()
            assert ear.next() == ("head", {name: made[name] for name in ("lineage", "version", "digest")})


@pytest.mark.journey(3)
@pytest.mark.promise("P3")
def test_a_watched_folder_at_one_node_fetches_what_is_committed_through_another(
    cluster: Cluster, people: People
) -> None:
    key = cluster.tenant()
    here, there = cluster.nodes[0], cluster.client(1, key)
    sam = people("sam")
    sam.run("login", here.url, "--key-file", "-", stdin=key)
    sam.run("init", "--name", "demo")
    sam.run("remote", "add", here.url)
    with watching(sam) as watcher:
        watcher.until(lambda told: told["event"] == "synced")
        assert there.put("demo", "from-afar.md", b"from afar\n").status == 200
        comes_to_be(lambda: sam.files().get("from-afar.md") == b"from afar\n")
        (sam.folder / "from-sam.md").write_text("from Sam\n")
        comes_to_be(lambda: there.get("/projects/demo/artifacts/from-sam.md").body == b"from Sam\n")


@pytest.mark.journey(4)
def test_who_listens_at_mcp_of_one_node_hears_of_commits_through_another(cluster: Cluster) -> None:
    here, there = cluster.clients(cluster.tenant())[:2]
    here.post("/projects", {"slug": "tides"}).ok()

    async def talk() -> None:
        async with _connected(here, "2026-07-28") as mcp, mcp.listen(resources_list_changed=True) as events:
            await anyio.to_thread.run_sync(lambda: there.put("tides", "a.md", b"# A\n").ok())
            with anyio.fail_after(30):
                async for event in events:
                    assert event == ResourcesListChanged()
                    break
            assert [each.uri for each in (await mcp.list_resources()).resources] == ["satchel://tides/a.md"]

    anyio.run(talk)
