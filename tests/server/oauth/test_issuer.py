"""The issuer is a setting: what is said of the server begins with it, and what another issuer signed counts no more."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.server.running import serving

WELL_KNOWN = "/.well-known/oauth-authorization-server"


def test_the_issuer_is_the_address_that_was_set_and_tokens_of_another_do_not_count(tmp_path: Path) -> None:
    issuer, moved = "https://context.example.org", "https://context.example.net"
    with serving(tmp_path / "data", public_url=issuer + "/") as server:
        key = server.admin.key
        host = {"host": "context.example.org"}
        about = server.client().get(WELL_KNOWN, host).ok()
        assert about["issuer"] == issuer
        assert all(
            value.startswith(f"{issuer}/") for name, value in about.items() if name.endswith(("_endpoint", "_uri"))
        )
        resource = server.client().get("/.well-known/oauth-protected-resource/mcp", host).ok()
        assert (resource["resource"], resource["authorization_servers"]) == (f"{issuer}/mcp", [issuer])
        challenge = server.client().send("POST", "/mcp", {}, host)
        assert (challenge.status, f"{issuer}/.well-known/" in challenge.headers["www-authenticate"]) == (401, True)
        token = server.client().post("/auth/token", {"apiKey": key}).ok()["accessToken"]
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        assert (claims["iss"], claims["aud"]) == (issuer, issuer)
        assert server.client(token).get("/auth/whoami").status == 200
    with serving(tmp_path / "data", public_url=moved) as server:
        assert server.client(token).get("/auth/whoami").code == "auth.invalid"
        again = server.client(key).post("/auth/token", {"apiKey": key}).ok()["accessToken"]
        assert server.client(again).get("/auth/whoami").status == 200  # keys do not name it
