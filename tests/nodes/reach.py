"""How long a change that one node made takes until every node acts on it."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.nodes.conftest import Cluster
from tests.server.running import Client

PASSWORD = "correct horse battery"
PAUSE_SECONDS = 0.005


class Reached(NamedTuple):
    """Seconds after the answer to the change."""

    refused: float
    """When the last node had refused for the first time."""
    allowed: float
    """When the last request was sent that was allowed; below 0 for before the answer."""


class Trial(NamedTuple):
    """Who asks what, how that is answered before and after, and what changes it."""

    askers: Sequence[Client]
    path: str
    after: int
    change: Callable[[], None]


def run(trial: Trial, seconds: float = 20.0) -> Reached:
    """Ask every node again and again, from before the change until each refuses."""
    refused = [0.0] * len(trial.askers)
    allowed = [0.0] * len(trial.askers)
    strange: list[int] = []
    asked = threading.Barrier(len(trial.askers) + 1)

    def ask(number: int, client: Client) -> None:
        first = client.get(trial.path).status
        if first != 200:
            strange.append(first)
        asked.wait(seconds)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            sent = time.monotonic()
            status = client.get(trial.path).status
            if status == trial.after:
                refused[number] = time.monotonic()
                return
            allowed[number] = sent
            if status != 200:
                strange.append(status)
            time.sleep(PAUSE_SECONDS)
        strange.append(0)

    threads = [threading.Thread(target=ask, args=each, daemon=True) for each in enumerate(trial.askers)]
    for thread in threads:
        thread.start()
    asked.wait(seconds)
    trial.change()
    answered = time.monotonic()
    for thread in threads:
        thread.join()
    assert not strange, strange
    return Reached(max(refused) - answered, max(allowed) - answered)


def trials(cluster: Cluster) -> dict[str, Callable[[], Trial]]:
    """What may change, each with a fresh credential of a tenant that all trials share, but for those that suspend."""
    key = cluster.tenant()
    admins = cluster.clients(key)
    admins[0].post("/projects", {"slug": "demo"}).ok()
    turns = iter(range(1 << 30))

    def admin() -> Client:
        return admins[next(turns) % len(admins)]

    def key_revoked() -> Trial:
        made = admin().post("/keys", {"name": "k", "role": "read"}).ok()
        return Trial(
            cluster.clients(made["key"]), "/projects", 401, lambda: admin().send("DELETE", f"/keys/{made['id']}").ok()
        )

    def grant_taken() -> Trial:
        wanted = [{"project": "demo", "role": "read"}]
        made = admin().post("/keys", {"name": "k", "projects": wanted}).ok()
        path = f"/projects/demo/grants/{made['id']}"
        return Trial(cluster.clients(made["key"]), "/projects/demo", 404, lambda: admin().send("DELETE", path).ok())

    def member_removed() -> Trial:
        email = f"{secrets.token_hex(6)}@example.org"
        asked = {"email": email, "name": "Ann", "password": PASSWORD, "tenantRole": "member"}
        member = admin().post("/members", asked).ok()["id"]
        token = admin().post("/auth/token", {"email": email, "password": PASSWORD}).ok()["accessToken"]
        return Trial(
            cluster.clients(token), "/projects", 401, lambda: admin().send("DELETE", f"/members/{member}").ok()
        )

    def token_revoked() -> Trial:
        token = admin().post("/auth/token", {"apiKey": key}).ok()["accessToken"]
        return Trial(
            cluster.clients(token), "/projects", 401, lambda: admin().post("/auth/revoke", {"token": token}).ok()
        )

    def tenant_suspended() -> Trial:
        slug = f"t-{secrets.token_hex(6)}"
        theirs = cluster.tenant(slug)
        operator = cluster.client(next(turns) % len(cluster.nodes), cluster.operator)
        path = f"/admin/tenants/{slug}"
        return Trial(
            cluster.clients(theirs), "/projects", 403, lambda: operator.send("PATCH", path, {"suspended": True}).ok()
        )

    return {
        "a key is revoked": key_revoked,
        "a grant is taken": grant_taken,
        "a member with a token is removed": member_removed,
        "a token is revoked": token_revoked,
        "a tenant is suspended": tenant_suspended,
    }
