"""Every example of the OpenAPI document is real: sent as it stands, it does what its operation says."""

from __future__ import annotations

from typing import Any

import pytest

from satchel.server.app import build
from satchel.server.openapi import document
from tests.server.running import Client, Running

EXAMPLES: dict[str, Any] = {
    f"{method.upper()} {path.removeprefix('/api/v1')}": content["example"]
    for path, operations in document(build(), "0")["paths"].items()
    for method, operation in operations.items()
    for content in operation.get("requestBody", {}).get("content", {}).values()
    if "example" in content
}


@pytest.mark.parametrize("place", EXAMPLES)
def test_an_example_is_taken_as_it_stands(server: Running, owner: Client, place: str) -> None:
    owner.post("/projects", {"slug": "acme"}).ok()
    owner.put("acme", "notes/key.md", b"# Key\n").ok()
    key = owner.post("/keys", {"name": "bot", "role": "read"}).ok()["id"]
    email = f"{key}@example.org"
    member = owner.post("/members", {"email": email, "name": "Kim", "password": "correct horse battery"}).ok()["id"]
    method, path = place.replace("{p}", "acme").replace("{key}", key).replace("{member}", member).split()
    client = server.admin if path.startswith("/admin") else owner
    answer = client.send(method, path, EXAMPLES[place])
    assert answer.status in (200, 201), (place, answer.body)
    assert answer.headers["content-type"] == "application/json"


def test_there_are_examples_of_what_people_send_first() -> None:
    assert {"POST /projects", "POST /projects/{p}/search", "POST /keys", "POST /admin/tenants"} <= set(EXAMPLES)
