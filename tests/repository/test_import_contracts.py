"""The import contracts of pyproject.toml hold, and each one breaks when an import that it forbids is planted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = Path(sys.executable).with_name("lint-imports")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

# contract -> (module that gets the import, the forbidden import). Several where one contract guards several walls.
PLANTS: list[tuple[str, str, str]] = [
    ("floors", "objects/ids.py", "import satchel.worktree"),
    ("floors", "worktree/__init__.py", "import satchel.search"),
    ("floors", "documents/__init__.py", "import satchel.objects"),
    ("floors", "store/__init__.py", "import satchel.catalog"),
    ("floors", "context/local.py", "import satchel.sync"),
    ("floors", "sync/__init__.py", "import satchel.context"),
    ("floors", "mcp/tools.py", "import satchel.remote"),
    ("floors", "remote/client.py", "import satchel.server"),
    ("floors", "remote/client.py", "import satchel.upkeep"),
    ("floors", "upkeep/estate.py", "import satchel.server"),
    ("floors", "sync/__init__.py", "import satchel.upkeep"),
    ("floors", "server/__init__.py", "import satchel.cli"),
    ("floors", "errors.py", "import satchel.config"),
    ("floors", "novelty.py", "import satchel.errors"),
    ("cycles", "objects/ids.py", "import satchel.objects.listing"),
    ("settings", "store/__init__.py", "import satchel.config"),
    ("settings", "remote/client.py", "import satchel.config"),
    ("settings", "upkeep/estate.py", "import satchel.config"),
    ("connection", "catalog/versions.py", "import satchel.catalog.connection"),
    ("connection", "server/__init__.py", "import satchel.catalog.connection"),
    ("database", "sync/__init__.py", "import sqlalchemy"),
    ("database", "server/__init__.py", "import alembic"),
    ("sqlite", "sync/__init__.py", "import apsw"),
    ("sdk", "mcp/stdio.py", "import mcp"),
    ("sdk", "server/__init__.py", "import mcp"),
    ("web", "sync/__init__.py", "import starlette"),
    ("web", "mcp/tools.py", "import fastapi"),
    ("client", "sync/__init__.py", "import http.client"),
    ("traces", "server/edge.py", "import opentelemetry.trace"),
    ("fetch", "server/app.py", "import httpcore2"),
    ("pure", "objects/ids.py", "import os"),
    ("pure", "documents/__init__.py", "import socket"),
    ("pure", "auth/policy.py", "import asyncio"),
    ("pure", "sync/plan.py", "import ssl"),
    ("pure", "sync/session.py", "import sqlite3"),
    ("pure", "sync/wire.py", "import http.client"),
    ("outside", "objects/listing.py", "import time"),
    ("outside", "auth/policy.py", "import secrets"),
    ("outside", "sync/plan.py", "import random"),
    ("local", "worktree/__init__.py", "import asyncio"),
    ("local", "search/__init__.py", "import urllib.request"),
    ("local", "context/local.py", "import pydantic"),
    ("local", "mcp/stdio.py", "import asyncio"),
    ("local", "mcp/tools.py", "import socket"),
    ("local", "cli/main.py", "import satchel.server"),
    ("local", "cli/search_cmd.py", "import satchel.remote"),
    ("local", "cli/mcp_cmd.py", "import ssl"),
]

# Verbs that are about the cloud by their nature. Every other verb is local.
CLOUD_VERBS = {
    "serve_cmd",
    "admin_cmd",
    "purge_cmd",
    "login_cmd",
    "join_cmd",
    "share_cmd",
    "log_cmd",
    "diff_cmd",
    "restore_cmd",
    "logout_cmd",
    "whoami_cmd",
    "remote_cmd",
    "sync_cmd",
    "push_cmd",
    "pull_cmd",
    "status_cmd",
    "conflicts_cmd",
    "resolve_cmd",
    "undo_cmd",
    "leave_cmd",
    "export_cmd",
    "key_cmd",
    "tenant_cmd",
    "completion_cmd",
}


def lint(source: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package under ``source`` by the contracts of this repository."""
    return subprocess.run(
        [str(LINTER), "--config", str(ROOT / "pyproject.toml"), "--no-cache", *options],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def copy_of_src(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "src"


@pytest.mark.promise("P1")
def test_every_contract_holds_on_the_real_tree() -> None:
    result = lint(ROOT / "src")
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_has_a_plant() -> None:
    assert {contract["id"] for contract in CONTRACTS} == {plant[0] for plant in PLANTS}


@pytest.mark.parametrize(("contract", "module", "statement"), PLANTS, ids=[f"{c}-{m}-{s}" for c, m, s in PLANTS])
def test_a_forbidden_import_breaks_its_contract(copy_of_src: Path, contract: str, module: str, statement: str) -> None:
    target = copy_of_src / "satchel" / module
    assert target.exists() or module == "novelty.py", f"{module} is gone: plant the import elsewhere"
    with target.open("a") as file:
        file.write(f"\n\ndef planted() -> None:\n    {statement}\n")
    result = lint(copy_of_src, "--contract", contract)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "1 broken" in result.stdout or "Broken contracts" in result.stdout, result.stdout + result.stderr


def test_every_local_verb_is_under_the_contract_that_keeps_it_local() -> None:
    local = next(contract for contract in CONTRACTS if contract["id"] == "local")
    listed = {name.removeprefix("satchel.cli.") for name in local["source_modules"] if ".cli." in name}
    verbs = {path.stem for path in (ROOT / "src/satchel/cli").glob("*_cmd.py")}
    assert listed - {"main"} <= verbs
    assert verbs - listed == CLOUD_VERBS & verbs, "a new verb is either local (list it in the contract) or a cloud verb"
