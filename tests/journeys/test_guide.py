"""The guide is executed: every `sh` block, page after page, in the sample project and with a real server."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.journeys.conftest import Person, Server
from tests.journeys.quick import quickly

GUIDE = Path(__file__).parents[2] / "docs/guide"
IN_ORDER = ("getting-started", "connect", "cloud", "sync", "remote-agents", "deploy", "tenants", "quotas", "local-only")
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_every_page_is_in_the_index_and_has_its_place_here() -> None:
    index = (GUIDE / "index.md").read_text()
    pages = {path.stem for path in GUIDE.glob("*.md")} - {"index"}
    assert {name for name in pages if f"({name}.md)" in index} == pages
    assert {name for name in pages if BLOCK.search((GUIDE / f"{name}.md").read_text())} == set(IN_ORDER)


@pytest.mark.system
@pytest.mark.journey(3)
def test_the_commands_of_the_guide_work_in_the_order_of_its_pages(own_server: Server, sam: Person) -> None:
    folder = sam.folder.rename(sam.home / "lighthouse")
    (sam.home / "admin.key").write_text(own_server.admin)
    with quickly(sam.home / "quick") as programs:
        env = {**sam.env, "PATH": f"{programs}:{sam.env['PATH']}"}
        for page in IN_ORDER:
            blocks = BLOCK.findall((GUIDE / f"{page}.md").read_text())
            script = "set -eux\n" + "".join(blocks).replace("https://context.example.org", own_server.url)
            done = subprocess.run(
                ["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=110
            )
            assert done.returncode == 0, f"{page}.md\n{done.stdout}\n{done.stderr}"
    assert {path.name for path in (sam.home / "second/specs").iterdir()} == {"delivery.md", "warnings.md"}
