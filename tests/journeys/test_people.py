"""From an invitation to a folder that is ready, between two people; and the way back into a tenant without an owner."""

from __future__ import annotations

import json
import re

import pytest

from tests.journeys.conftest import Person, Server

PASSWORD = "correct horse battery"


@pytest.mark.journey(2)
@pytest.mark.journey(3)
def test_a_project_is_shared_by_a_link_and_joined_in_one_command(server: Server, sam: Person, kim: Person) -> None:
    sam.joins(server)
    sam.run("sync")
    shared = sam.run("share", "--role", "write")
    url = shared.stdout.strip()
    assert url.startswith(f"{server.url}/join/stl_invite_")
    assert "satchel join URL" in shared.stderr
    kim.run("join", url[:-3], "notes", stdin="kim@example.org\nwhatever it is\n", status=1)
    kim.run("join", "https://example.org", stdin="", status=2)
    refused = kim.run("join", url, "notes", "--email", "kim@example.org", stdin="password1234\n", status=2)
    assert "many people use" in refused.stderr
    assert not (kim.folder / "notes").exists()
    (kim.folder / "notes/.satchel").mkdir(parents=True)  # as a join that was cut off leaves it
    joined = kim.run("join", url, "notes", stdin=f"kim@example.org\n{PASSWORD}\n", status=0)
    assert "may write" in joined.stderr
    assert re.search(r"fetched, .* up and .* down in \d+ requests, ", joined.stdout)
    assert PASSWORD not in joined.stdout + joined.stderr
    theirs = {path: data for path, data in kim.files().items() if path.startswith("notes/")}
    ignored = ("build/report.md", "dispatcher.log")
    assert theirs == {f"notes/{path}": data for path, data in sam.files().items() if path not in ignored}
    kim.folder = kim.folder / "notes"
    (kim.folder / "from-kim.md").write_text("# From Kim\n")
    assert kim.json("sync")["inStep"]
    config = kim.folder / ".satchel/config.toml"
    config.write_text(config.read_text() + '[sync]\nlocal_only = ["for-sam.md"]\n')
    (sam.folder / "for-sam.md").write_text("# For Sam\n")
    sam.run("sync")
    again = json.loads(kim.run("join", url, ".", "--email", "KIM@example.org", "--json", stdin=f"{PASSWORD}\n").stdout)
    assert (again["role"], again["sync"]["withheld"]) == ("write", {"for-sam.md": "local-only"})
    assert not (kim.folder / "for-sam.md").exists()
    assert 'local_only = [\n    "for-sam.md",\n]' in config.read_text()
    assert sam.files()["from-kim.md"] == b"# From Kim\n"
    (row,) = sam.json("share", "--list")["items"]
    assert (row["uses"], row["usesLimit"], row["state"]) == (1, 1, "used up")
    sam.run("share", "--revoke", row["id"])
    late = kim.run("join", url, ".", stdin="", status=1)
    assert "was revoked" in late.stderr
    assert kim.json("whoami")["tenant"]["slug"] == server.slug


def test_the_operator_lets_somebody_own_a_tenant_again(own_server: Server, sam: Person) -> None:
    made = own_server.http("POST", "/admin/tenants", own_server.admin, {"slug": "acme", "name": "Acme"}).body
    owner_id = own_server.http("GET", "/auth/whoami", made["adminKey"]).body["principal"]["id"]
    refused = own_server.http("DELETE", f"/keys/{owner_id}", made["adminKey"])
    assert (refused.status, refused.body["code"]) == (409, "tenant.last_owner")
    found = own_server.run_admin("recover", "acme")
    assert found["slug"] == "acme"
    who = own_server.http("GET", "/auth/whoami", found["key"]).body
    assert (who["tenant"]["slug"], who["role"]) == ("acme", "owner")
    sam.login(own_server, found["key"])
    url = sam.run("tenant", "invite", "--role", "owner").stdout.strip()
    sam.run("join", url, "--email", "sam@example.org", stdin=f"{PASSWORD}\n")
    (member,) = sam.json("tenant", "members")["items"]
    assert (member["email"], member["tenantRole"]) == ("sam@example.org", "owner")
    sam.run("tenant", "password", stdin=f"{PASSWORD}\nanother good passphrase\n")
    sam.run("tenant", "role", member["id"], "admin")
    rows = own_server.http("GET", "/tenant/audit", made["adminKey"]).body["items"]
    assert [row["action"] for row in rows].count("tenant.recover") == 1
    own_server.run_admin("recover", "nobody", status=1)
