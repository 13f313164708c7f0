"""The generated pages of ``docs/``: settings, error codes, the REST reference and the OpenAPI snapshot.

``python -m satchel.server.reference docs`` writes them; a test holds the pages in the repository equal to ``pages``.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from typing import Any

import satchel
from satchel import __version__
from satchel.config import reference as settings
from satchel.errors import all_leaves
from satchel.server.app import build
from satchel.server.openapi import document
from satchel.server.pages import error_index_markdown, error_markdown


def pages() -> dict[str, str]:
    """Every generated page by its path below ``docs/``."""
    load_every_code()
    described = document(build(), __version__)
    made = {
        "reference/settings.md": settings.reference(),
        "reference/openapi.json": json.dumps(described, indent=1, ensure_ascii=False) + "\n",
        "reference/rest.md": _rest(described),
        "errors/README.md": error_index_markdown(),
    }
    for kind in all_leaves():
        made[f"errors/{kind.code}.md"] = error_markdown(kind)
    return made


def load_every_code() -> None:
    """Import every module of Satchel, so that the error tree is whole whichever room declares a leaf."""
    for module in pkgutil.walk_packages(satchel.__path__, "satchel."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def write(docs: Path) -> None:
    """Write the pages below ``docs`` and remove pages of codes that are no more."""
    made = pages()
    for name, text in made.items():
        path = docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for old in (docs / "errors").glob("*.md"):
        if f"errors/{old.name}" not in made:
            old.unlink()


def _rest(described: dict[str, Any]) -> str:
    lines = [
        "# REST reference",
        "",
        "Generated from the OpenAPI document, [openapi.json](openapi.json); a running server shows it at `/docs`.",
        "Errors are [problem details with a code](../errors/README.md). Every address but those of health, of",
        "signing in and the public keys needs `Authorization: Bearer` with an API key or an access token.",
    ]
    tags: dict[str, list[str]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            tags.setdefault(operation["tags"][0], []).append(_row(path, method.upper(), operation))
    for tag, rows in tags.items():
        lines += [
            "",
            f"## {tag.capitalize()}",
            "",
            "| request | what | parameters | answers |",
            "|---|---|---|---|",
            *rows,
        ]
    return "\n".join(lines) + "\n"


def _row(path: str, method: str, operation: dict[str, Any]) -> str:
    named = [
        f"`{parameter['name']}`"
        for parameter in operation.get("parameters", ())
        if parameter["in"] in ("query", "header")
    ]
    sent = [name for content in operation.get("requestBody", {}).get("content", {}).items() for name in _body(*content)]
    statuses = " ".join(operation["responses"])
    return f"| `{method} {path}` | {operation['summary']} | {', '.join([*named, *sent]) or '–'} | {statuses} |"


def _body(media: str, content: dict[str, Any]) -> list[str]:
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    return [f"body {name}" if name else f"body `{media}`"]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
