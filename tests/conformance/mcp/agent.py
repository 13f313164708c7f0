"""An agent for the MCP conformance suite: speaks stdio with ``satchel mcp --remote URL`` and is told by the suite, in
its environment, which revision of the protocol to speak. Run as a program, with the server's address at the end.

It is its own ``$BROWSER``: given an address of an authorization server that asks nobody, it follows it to its end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

DOCUMENT = "https://conformance-test.local/client-metadata.json"
"""What a client is to name itself by where it is known by a document."""
MODERN = "2026-07-28"
INFO = {"name": "satchel-tests", "version": "1"}


def main(url: str) -> int:
    with tempfile.TemporaryDirectory() as home:
        client = ["--client-id", DOCUMENT]
        context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
        if "client_secret" in context:
            secret = Path(home, "secret")
            secret.write_text(context["client_secret"])
            client = ["--client-id", context["client_id"], "--client-secret-file", str(secret)]
        words = [sys.executable, "-m", "satchel.cli.main", "mcp", "--remote", url, *client]
        env = os.environ | {
            "HOME": home,
            "XDG_CONFIG_HOME": f"{home}/config",
            "BROWSER": f"{sys.executable} {__file__} --follow %s",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }
        with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bridge:
            try:
                return Agent(bridge).play()
            finally:
                assert bridge.stdin is not None
                bridge.stdin.close()


class Agent:
    def __init__(self, bridge: subprocess.Popen[bytes]) -> None:
        self._bridge, self._last = bridge, 0
        self._version = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "2025-11-25")

    def play(self) -> int:
        if self._version < MODERN:
            about = {"protocolVersion": self._version, "capabilities": {}, "clientInfo": INFO}
            if "error" in self.ask("initialize", about):
                return 1
            self._say({"jsonrpc": "2.0", "method": "notifications/initialized"})
        said = self.ask("tools/list", {})
        for tool in said.get("result", {}).get("tools", []):
            said = self.ask("tools/call", {"name": tool["name"], "arguments": {}})
        return 1 if "error" in said else 0

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._last += 1
        if self._version >= MODERN:
            prefix = "io.modelcontextprotocol"
            params["_meta"] = {
                f"{prefix}/protocolVersion": self._version,
                f"{prefix}/clientInfo": INFO,
                f"{prefix}/clientCapabilities": {},
            }
        self._say({"jsonrpc": "2.0", "id": self._last, "method": method, "params": params})
        assert self._bridge.stdout is not None
        for line in self._bridge.stdout:
            said: dict[str, Any] = json.loads(line)
            if said.get("id") == self._last:
                print(f"{method}: {line.decode().strip()}")
                return said
        return {"error": {"message": "the bridge ended"}}

    def _say(self, message: dict[str, Any]) -> None:
        assert self._bridge.stdin is not None
        self._bridge.stdin.write(json.dumps(message).encode() + b"\n")
        self._bridge.stdin.flush()


if __name__ == "__main__":
    if sys.argv[1] == "--follow":
        urllib.request.urlopen(sys.argv[2], timeout=30).close()
    else:
        sys.exit(main(sys.argv[-1]))
