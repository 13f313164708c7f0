"""Promise P1: a local verb opens no socket and loads no network, server, pydantic or asyncio module.

Each verb runs as a process of its own, under an audit hook that reports every socket event of the interpreter, and
says at its end which modules it had loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from satchel.cli.verbs import VERBS

# Not `_socket`: typing_extensions, where it is installed, loads that for the type of a constant and no more.
FORBIDDEN = {
    *("aiosqlite", "alembic", "anyio", "asyncio", "cryptography", "fastapi", "http", "httpx", "joserfc", "mcp"),
    *("multiprocessing", "obstore", "pydantic", "requests", "select", "selectors", "socket", "socketserver"),
    *("sqlalchemy", "ssl", "starlette", "urllib3", "uvicorn", "uvloop"),
    *("satchel.auth", "satchel.catalog", "satchel.mcp.http", "satchel.remote", "satchel.server", "satchel.store"),
    "satchel.sync",
}

PROBE = """
import json, os, sys
events = []
sys.addaudithook(lambda event, args: event.startswith(("socket.", "urllib.", "http.")) and events.append(event))
from satchel.cli.main import run
status = run(sys.argv[2:])
sys.stdout.flush()
with open(sys.argv[1], "w") as file:
    json.dump({"status": status, "events": events, "modules": sorted(sys.modules)}, file)
"""

VERB_LINES: dict[str, list[str]] = {
    "init": ["--template"],
    "search": ["red warning"],
    "get": ["specs/warnings.md"],
    "outline": ["specs/warnings.md"],
    "tasks": [],
    "context": [],
    "review": ["specs/warnings.md"],
    "projects": [],
    "use": ["lighthouse"],
    "link": ["lighthouse", "tide-tables", "--type", "depends-on"],
    "doctor": [],
    "verify": [],
    "bench": ["--questions", "3"],
    "mcp": [],
    "connect": ["claude-code", "--yes"],
}
CONVERSATION = (
    {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {
        "name": "search", "arguments": {"query": "warning"}}},
    {"jsonrpc": "2.0", "id": 4, "method": "resources/list"},
)  # fmt: skip


def probe(folder: Path, verb: str, words: list[str]) -> tuple[dict[str, object], str]:
    report = folder.parent / "report.json"
    spoken = "".join(json.dumps(message) + "\n" for message in CONVERSATION) if verb == "mcp" else ""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(report), verb, *words],
        cwd=folder, input=spoken, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(report.read_text()), done.stdout


@pytest.mark.promise("P1")
@pytest.mark.parametrize("verb", VERB_LINES)
@pytest.mark.parametrize("again", [False, True], ids=["fresh", "again"])
def test_a_local_verb_opens_no_socket_and_loads_nothing_that_could(
    sample_project: Path, verb: str, again: bool
) -> None:
    if again or verb in ("use", "link", "review"):
        probe(sample_project, "init", [])
    seen, said = probe(sample_project, verb, VERB_LINES[verb])
    assert seen["status"] == 0, said
    assert seen["events"] == []
    modules = seen["modules"]
    assert isinstance(modules, list)
    loaded = {name for name in modules if any(name == bad or name.startswith(bad + ".") for bad in FORBIDDEN)}
    assert loaded == set()
    if verb == "mcp":
        answers = [json.loads(line) for line in said.splitlines()]
        assert {answer["id"] for answer in answers} == {1, 2, 3, 4}
        assert answers[2]["result"]["structuredContent"]["hits"]


@pytest.mark.promise("P1")
def test_every_verb_without_a_server_is_probed() -> None:
    with_server = {
        "login",
        "join",
        "share",
        "whoami",
        "logout",
        "remote",
        "sync",
        "push",
        "pull",
        "status",
        "conflicts",
        "resolve",
        "undo",
        "leave",
    }
    with_server |= {"log", "diff", "restore"}
    with_server |= {
        "export"
    }  # of a local project it starts git alone, for which `subprocess` is loaded: tested beside it
    # The completion script of bash is written after asking bash for its version: click loads subprocess for that.
    assert set(VERBS) - with_server - {"key", "tenant", "serve", "admin", "purge", "completion"} == set(VERB_LINES)


@pytest.mark.promise("P1")
def test_the_probe_sees_a_socket(tmp_path: Path) -> None:
    code = PROBE.replace("status = run(sys.argv[2:])", "import socket; socket.socket(); status = 0")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "report.json")], check=True)
    seen = json.loads((tmp_path / "report.json").read_text())
    assert seen["events"] == ["socket.__new__"]
    assert "socket" in seen["modules"]
