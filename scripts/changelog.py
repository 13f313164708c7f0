"""Gather the fragments of ``changelog.d`` into a section of ``CHANGELOG.md``.

    python scripts/changelog.py                              # prints what the next release says so far
    python scripts/changelog.py --write 0.2.0 2026-12-01     # puts it into CHANGELOG.md and removes the fragments

The text of a fragment is taken as it is. Its links are turned, since the section stands one folder higher.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
KINDS = ("security", "removed", "changed", "added", "fixed")
"""In the order of what somebody who upgrades has to know first."""
HEAD = """# Changelog

What users notice, newest release first. [Versions and support](docs/guide/support.md) says what a number promises.
"""


def fragments(root: Path) -> dict[str, list[Path]]:
    """The fragments of each kind, by name."""
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted((root / "changelog.d").glob("*.md")):
        if path.name != "README.md":
            found[path.name.partition("-")[0]].append(path)
    return found


def section(root: Path, title: str) -> str:
    """The section of a release, headed by ``title``."""
    lines = [f"## {title}", ""]
    for kind, paths in fragments(root).items():
        if paths:
            lines += [f"### {kind.capitalize()}", ""]
            for path in paths:
                lines += [*_item(path.read_text(encoding="utf-8")), ""]
    return "\n".join(lines).rstrip() + "\n"


def write(root: Path, version: str, date: str) -> None:
    """Put the section of ``version`` on top of the changelog, and remove the fragments it was made of."""
    page = root / "CHANGELOG.md"
    before = page.read_text(encoding="utf-8").removeprefix(HEAD) if page.exists() else ""
    if f"\n## {version} " in before:
        raise SystemExit(f"CHANGELOG.md has a section {version} already")
    if not any(fragments(root).values()):
        raise SystemExit("changelog.d holds no fragments: there is nothing to release")
    page.write_text(f"{HEAD}\n{section(root, f'{version} ({date})')}{before}", encoding="utf-8")
    for paths in fragments(root).values():
        for path in paths:
            path.unlink()


def _item(text: str) -> list[str]:
    """A fragment as an item of a list: its first sentence in bold, the rest below it."""
    first, _, rest = text.strip().replace("](../", "](").partition("\n")
    item = [f"- **{first}**"]
    item += [f"  {line}".rstrip() for line in rest.strip().split("\n")] if rest.strip() else []
    return item


def main(arguments: list[str]) -> None:
    match arguments:
        case []:
            print(section(ROOT, "Unreleased"), end="")
        case ["--write", version, date] if re.fullmatch(r"\d+\.\d+\.\d+", version) and re.fullmatch(
            r"\d{4}-\d\d-\d\d", date
        ):
            write(ROOT, version, date)
        case _:
            raise SystemExit((__doc__ or "").strip())


if __name__ == "__main__":
    main(sys.argv[1:])
