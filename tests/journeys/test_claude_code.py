"""Claude Code's command line, as anybody installs it, against a server of ours: as far as it goes without a model.

It is taken from PATH or from ``$CLAUDE`` (npm: ``@anthropic-ai/claude-code``); its home is the test's own. Without it
the test is skipped by name. Connected means that it has agreed on a protocol with the server and listed its tools.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import SATCHEL
from tests.sample import write_sample_project
from tests.server.running import Running, serving
from tests.server.web.people import PASSWORD

CLAUDE = os.environ.get("CLAUDE") or shutil.which("claude")
BROWSER = Path(__file__).parents[1] / "cli" / "consenting.py"
pytestmark = [
    pytest.mark.journey(4),
    pytest.mark.timeout(600),
    pytest.mark.skipif(CLAUDE is None, reason="needs Claude Code: npm install @anthropic-ai/claude-code"),
]


class Claude:
    """The program, in a home and a folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        kept = ("PATH", "LANG", "LC_ALL", "TMPDIR")
        self.env = {name: os.environ[name] for name in kept if name in os.environ} | {
            "HOME": str(home),
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "BROWSER": f"{sys.executable} {BROWSER} %s",
            "CONSENTING": f"sam@example.org {PASSWORD}",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }

    def mcp(self, *words: str) -> str:
        """What ``claude mcp ...`` says."""
        assert CLAUDE is not None
        done = subprocess.run(
            [CLAUDE, "mcp", *words], cwd=self.home, env=self.env, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        assert done.returncode == 0, (words[0], done.stdout[-2_000:], done.stderr[-2_000:])
        return done.stdout + done.stderr

    def log_in(self, name: str) -> None:
        """``claude mcp login``, which wants a terminal; the browser is ours, given the address it shows."""
        assert CLAUDE is not None
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 2_000, 0, 0))  # an address fits one line
        command = [CLAUDE, "mcp", "login", name]
        env = self.env | {"BROWSER": "false"}
        with subprocess.Popen(command, cwd=self.home, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            said, went = "", False
            while data := _read(ours):
                said += data
                found = re.search(r"(http://127\.0\.0\.1:\d+/oauth/authorize\?[!-~]+)[^!-~]", said)
                if found and not went:
                    went = True
                    subprocess.run([sys.executable, str(BROWSER), found[1]], env=self.env, check=True, timeout=60)
        os.close(ours)
        assert process.returncode == 0, said[-2_000:]


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 65_536).decode(errors="replace")
    except OSError:  # the other side has ended
        return ""


@pytest.fixture
def claude(tmp_path: Path) -> Claude:
    home = tmp_path / "home"
    home.mkdir()
    return Claude(home)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    # Without a way to the internet the document by which Claude Code names itself cannot be fetched.
    with serving(tmp_path / "data", client_documents=False) as running:
        running.admin.post("/members", {"email": "sam@example.org", "name": "Sam", "password": PASSWORD}).ok(201)
        yield running


def test_claude_code_starts_satchel_in_a_folder_that_was_connected(claude: Claude) -> None:
    write_sample_project(claude.home / "lighthouse")
    folder = claude.home / "lighthouse"
    for words in (("init", "--quiet"), ("connect", "claude-code", "--write", "--yes")):
        command = [sys.executable, "-m", "satchel.cli.main", *words]
        subprocess.run(command, cwd=folder, env=claude.env, check=True, capture_output=True, timeout=60)
    entry = json.loads((folder / ".mcp.json").read_text())["mcpServers"]["satchel"]
    assert entry["args"] == ["mcp", "--write"]
    claude.mcp("add", "by-folder", "--", *SATCHEL, *entry["args"], "-C", str(folder))
    said = claude.mcp("get", "by-folder")
    assert "Connected" in said, said


def test_claude_code_connects_with_a_key_by_login_and_over_the_bridge(claude: Claude, server: Running) -> None:
    url = f"{server.url}/mcp"
    claude.mcp("add", "--transport", "http", "by-key", url, "--header", f"Authorization: Bearer {server.admin.key}")
    assert "Connected" in claude.mcp("get", "by-key")

    claude.mcp("add", "--transport", "http", "by-login", url)
    assert "Needs authentication" in claude.mcp("get", "by-login")
    claude.log_in("by-login")
    assert "Connected" in claude.mcp("get", "by-login")

    bridge = [sys.executable, "-m", "satchel.cli.main", "mcp", "--remote", url]
    claude.mcp("add", "by-bridge", "--", *bridge)
    said = claude.mcp("get", "by-bridge")
    assert "Connected" in said, said
