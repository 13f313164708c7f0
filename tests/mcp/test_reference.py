from __future__ import annotations

from pathlib import Path

from satchel.mcp.reference import page


def test_the_page_in_the_repository_is_the_one_these_tools_make() -> None:
    """Write it anew with ``python -c 'from satchel.mcp.reference import page; print(page(), end="")'``."""
    assert (Path(__file__).parents[2] / "docs/reference/mcp.md").read_text() == page()
