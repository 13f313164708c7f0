"""The runbooks are executed: each `sh` block, page after page, on a server whose bucket and backups are apart."""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.journeys.conftest import Person, Server
from tests.journeys.quick import quickly

OPERATE = Path(__file__).parents[2] / "docs/guide/operate"
IN_ORDER = ("drill", "keys-and-leaks", "outages", "offboarding")
BLOCK = re.compile(r"^( *)```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def commands(page: str) -> str:
    """The commands of a page, those within lists as well."""
    return "".join(textwrap.dedent(block) for _, block in BLOCK.findall((OPERATE / f"{page}.md").read_text()))


def test_every_page_with_commands_has_its_place_here_and_in_the_index() -> None:
    index = (OPERATE.parent / "index.md").read_text()
    pages = {path.stem for path in OPERATE.glob("*.md")}
    assert {name for name in pages if f"(operate/{name}.md)" in index} == pages
    assert {name for name in pages if commands(name)} == set(IN_ORDER)


@pytest.mark.system
@pytest.mark.journey(1)
def test_the_commands_of_the_runbooks_work_in_the_order_of_their_pages(
    new_server: Server, sam: Person, tmp_path: Path
) -> None:
    new_server.root_key = tmp_path / "safe" / "root.key"
    new_server.root_key.parent.mkdir()
    settings = {
        "SATCHEL_STORE_URL": (tmp_path / "bucket").as_uri(),
        "SATCHEL_BACKUP_URL": (tmp_path / "backups").as_uri(),
        "SATCHEL_ROOT_KEY": str(new_server.root_key),
    }
    new_server.env |= settings
    new_server.start()
    sam.joins(new_server)
    sam.run("sync")
    sam.run("key", "create", "leaked", "--project", "demo:write")
    with quickly(tmp_path / "quick") as programs:
        env = {**sam.env, **settings, "SATCHEL_DATA": str(new_server.data), "PATH": f"{programs}:{sam.env['PATH']}"}
        for page in IN_ORDER:
            script = "set -eux -o pipefail\n" + commands(page).replace("https://context.example.org", new_server.url)
            done = subprocess.run(
                ["bash", "-c", script], cwd=sam.folder, env=env, capture_output=True, text=True, timeout=200
            )
            assert done.returncode == 0, f"{page}.md\n{done.stdout[-3_000:]}\n{done.stderr[-3_000:]}"
    assert "demo" in sam.run("projects", "--remote").stdout
