"""The ledger of promises: which tests show P1 to P11 and the five journeys.

``python scripts/promises.py`` writes docs/promises.md from the markers ``promise("P3")`` and ``journey(2)`` in tests/;
``--check`` only says whether the page is up to date, and whether every marker names a promise that exists.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "promises.md"

PROMISES = {
    "P1": "Local is local: no socket is opened, and no network, server, pydantic or asyncio module is loaded.",
    "P2": "Same answers: for equal digests and queries, CLI, stdio MCP, REST and remote MCP return the same hits.",
    "P3": "Nothing is lost: acknowledged bytes can be read back; what a sync overwrote can be brought back.",
    "P4": "One line of history: versions form one chain, and the catalog transaction is the only commit point.",
    "P5": "A tenant is a wall: another tenant's data looks exactly like data that never existed.",
    "P6": "Any crash, any time: stored data stays whole, and the next run finishes the work.",
    "P7": "Replay is harmless: every write can be sent twice.",
    "P8": "Everything is bounded: each input has a stated limit and a clear error beyond it.",
    "P9": "Derived is disposable: indexes and caches can be deleted at any time.",
    "P10": "No leaks by the side: logs and errors hold no content, no secrets, nothing of another tenant.",
    "P11": "No lock-in: plain files, the history as a git repository on request, and local-only by one command.",
}
JOURNEYS = {
    "1": "Deploy as a cloud service.",
    "2": "Authenticate and access context.",
    "3": "Sync local context to the cloud, back, and both ways.",
    "4": "Access context from a remote agent, over REST and MCP.",
    "5": "Multi-tenant isolation.",
}


class Citation(NamedTuple):
    """A test, or a whole module, that carries a marker."""

    marker: str  # "promise" or "journey"
    id: str
    path: str  # relative to the repository
    test: str  # "" for a whole module


def citations(tests: Path = ROOT / "tests") -> Iterator[Citation]:
    """Every promise and journey marker under ``tests``, read from the source without running it."""
    for path in sorted(tests.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        place = path.relative_to(tests.parent).as_posix()
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    marked: list[ast.expr] = node.decorator_list
                case ast.Assign(targets=[ast.Name(id="pytestmark")], value=value):
                    name, marked = "", [value]
                case _:
                    continue
            yield from (Citation(marker, cited, place, name) for marker, cited in _markers(marked))


def _markers(expressions: list[ast.expr]) -> Iterator[tuple[str, str]]:
    for expression in expressions:
        for node in ast.walk(expression):
            match node:
                case ast.Call(func=ast.Attribute(attr="promise" | "journey" as marker), args=[*arguments]):
                    yield from ((marker, str(ast.literal_eval(argument))) for argument in arguments)


def unknown(found: list[Citation]) -> list[Citation]:
    """The citations of a promise or journey that does not exist."""
    return [cited for cited in found if cited.id not in (PROMISES if cited.marker == "promise" else JOURNEYS)]


def page(found: list[Citation]) -> str:
    """The text of docs/promises.md."""
    lines = [
        "# Promises and the tests that show them",
        "",
        "Written by `scripts/promises.py` from the markers in `tests/`; `make check` fails when it is out of date.",
        "A promise without a test says so here: until one stands below it, do not rely on it.",
    ]
    for title, marker, entries in (("Promises", "promise", PROMISES), ("Journeys", "journey", JOURNEYS)):
        lines += ["", f"## {title}"]
        for id_, statement in entries.items():
            lines += ["", f"### {id_ if marker == 'promise' else 'Journey ' + id_}", "", statement, ""]
            tests = sorted({(cited.path, cited.test) for cited in found if (cited.marker, cited.id) == (marker, id_)})
            lines += [f"- {_sentence(test)} ([{path}](../{path}))" for path, test in tests]
            if not tests:
                lines.append("No test shows this yet.")
    return "\n".join(lines) + "\n"


def _sentence(test: str) -> str:
    return test.removeprefix("test_").replace("_", " ") if test else "every test of the module"


def main(arguments: list[str]) -> int:
    found = list(citations())
    if wrong := unknown(found):
        print("\n".join(f"{cited.path}: {cited.test}: no {cited.marker} {cited.id}" for cited in wrong))
        return 1
    text = page(found)
    if "--check" not in arguments:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print("docs/promises.md is out of date: run python scripts/promises.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
