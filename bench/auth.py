"""What authentication costs: one check of a key or a token, and the endpoints that give tokens out.

    python bench/auth.py [--rounds 20000] [--requests 500] [--json FILE]

A check is taken in process, in CPU time of the process (other work on the machine does not count into it), with the
queries it asks of the catalog: warm (the credential was seen within seconds) and cold (looked up). A warm one begins
with the bytes of a header that nobody looked at yet, as a request does. The endpoints are asked one request at a time
over one connection on loopback, in wall-clock time and in CPU time of the server's process, which other work distorts
less. The last table holds what was asked for: a key warm 5 µs at most and cold one query at most; a token warm 2 µs;
the token endpoint p95 below 20 ms, but for passwords, which are meant to be slow; a whole authentication p99 below
5 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import tempfile
import time
import urllib.parse
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from api import stored_key
from measure import machine, percentile, report, save
from serving import satchel_served

from satchel.auth.keys import key_mac, parse_key
from satchel.auth.tokens import verify
from satchel.catalog import sessions
from satchel.catalog.scope import Scope
from satchel.config.server import ServerSettings
from satchel.objects.ids import new_id
from satchel.server.cloud import Cloud, open_cloud
from satchel.server.minting import tokens_for


class Took(NamedTuple):
    """Milliseconds of one request."""

    wall: float
    cpu: float
    """Of the server."""


PERSON = {"email": "bench@example.org", "name": "Bench", "password": "a long enough password"}


class Queries:
    """Counts what is asked of tenants' part of the catalog while it is entered."""

    def __enter__(self) -> Queries:
        self.count, self._run = 0, Scope._run

        async def counted(scope: Scope, *given: Any) -> Any:
            self.count += 1
            return await self._run(scope, *given)

        Scope._run = counted  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Scope._run = self._run  # type: ignore[method-assign]


async def cpu_us(rounds: int, once: Callable[[], Awaitable[object]]) -> float:
    """Microseconds of CPU that ``once`` takes: the best of nine loops, as `timeit` has it."""
    best = float("inf")
    for _ in range(9):
        began = time.process_time()
        for _ in range(rounds):
            await once()
        best = min(best, time.process_time() - began)
    return best / rounds * 1e6


async def checks(cloud: Cloud, key: str, rounds: int) -> dict[str, dict[str, float]]:
    """CPU and queries of one check, by what is checked and how."""
    authenticator, found = cloud.authenticator, {}
    who = (await authenticator.check_text(key)).principal
    async with cloud.catalog.write(who.tenant) as s:
        family, _ = await sessions.start(
            s, pepper=cloud.pepper, family=new_id("fam", cloud.random(16)), principal_id=who.id, now=cloud.clock()
        )
    token = str(tokens_for(cloud, who, family=family)["accessToken"])
    keys = authenticator.tokens

    async def signature() -> object:
        return verify(token, keys.verifying, issuer=keys.url, audience=keys.url, now=cloud.clock())

    async def hashing() -> object:
        return parse_key(key), key_mac(cloud.pepper, key)

    key_header, token_header = f"Bearer {key}".encode(), f"Bearer {token}".encode()

    for name, rounds_, once in (
        ("key, warm", rounds, lambda: authenticator.check(key_header.decode("latin-1"))),
        ("token, warm", rounds, lambda: authenticator.check(token_header.decode("latin-1"))),
        ("key, cold", rounds // 20, lambda: authenticator.check_text(key)),
        ("token of a session, cold", rounds // 20, lambda: authenticator.check_text(token)),
        ("of a cold key: text and keyed hash", rounds // 10, hashing),
        ("of a cold token: signature and claims", rounds // 20, signature),
    ):
        await cloud.watch.listen()  # remembered things count for a second after it
        await once()
        with Queries() as queries:
            await once()
        found[name] = {"cpu_us": await cpu_us(max(1, rounds_), once), "queries": queries.count}
    return found


class Endpoint:
    """One connection that posts to a server whose process is known."""

    def __init__(self, url: str, pid: int) -> None:
        parts = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        self.threads = Path(f"/proc/{pid}/task")

    def cpu_ms(self) -> float:
        """Milliseconds of CPU that the server's threads have used; 0 where the system does not say."""
        return sum(int(each.read_text().split()[0]) for each in self.threads.glob("*/schedstat")) / 1e6

    def ask(self, method: str, path: str, body: object = None, key: str | None = None) -> tuple[Took, Any]:
        """What one request took, and its answer. A path below /oauth is sent a form."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        form = path.startswith("/oauth")
        headers["content-type"] = "application/x-www-form-urlencoded" if form else "application/json"
        data = None if body is None else urllib.parse.urlencode(body) if form else json.dumps(body)  # type: ignore[arg-type]
        spent, began = self.cpu_ms(), time.perf_counter()
        self.connection.request(method, path if form else f"/api/v1{path}", data, headers)
        answer = self.connection.getresponse()
        said = answer.read()
        took = Took((time.perf_counter() - began) * 1_000, self.cpu_ms() - spent)
        if answer.status not in (200, 201):
            raise SystemExit(f"{path} answered {answer.status}: {said[:300]!r}")
        return took, json.loads(said)


def endpoints(url: str, pid: int, key: str, requests: int) -> dict[str, list[Took]]:
    """What each request took, by what was asked."""
    at = Endpoint(url, pid)
    at.ask("POST", "/members", PERSON, key)
    password = {name: PERSON[name] for name in ("email", "password")}
    signed = [at.ask("POST", "/auth/token", password) for _ in range(5)]
    refreshed, granted, refresh = [], [], signed[-1][1]["refreshToken"]
    for _ in range(requests):
        took, answer = at.ask("POST", "/auth/refresh", {"refreshToken": refresh})
        refresh = answer["refreshToken"]
        refreshed.append(took)
        fields = {"grant_type": "refresh_token", "client_id": "satchel-cli", "refresh_token": refresh}
        took, answer = at.ask("POST", "/oauth/token", fields)
        refresh = answer["refresh_token"]
        granted.append(took)
    token = answer["access_token"]
    return {
        "POST /auth/token, key": [at.ask("POST", "/auth/token", {"apiKey": key})[0] for _ in range(requests)],
        "POST /auth/refresh": refreshed,
        "POST /oauth/token, refresh": granted,
        "POST /auth/token, password": [took for took, _ in signed],
        "GET /auth/whoami, key": [at.ask("GET", "/auth/whoami", None, key)[0] for _ in range(requests)],
        "GET /auth/whoami, token": [at.ask("GET", "/auth/whoami", None, token)[0] for _ in range(requests)],
    }


def asked_for(checks: dict[str, dict[str, float]], figures: dict[str, dict[str, float]]) -> list[list[object]]:
    """What was asked for, and what came of it."""
    giving = [one for what, one in figures.items() if what.startswith("POST") and "password" not in what]
    whole = [one for what, one in figures.items() if what.startswith("GET")]

    def worst(rows: list[dict[str, float]], share: int) -> str:
        return f"{max(r[f'p{share}_ms'] for r in rows):.2f} ms ({max(r[f'cpu_p{share}_ms'] for r in rows):.2f} of CPU)"

    return [
        ["key check, warm", "5 µs", f"{checks['key, warm']['cpu_us']:.1f} µs of CPU"],
        ["key check, cold", "1 query", f"{checks['key, cold']['queries']:.0f}"],
        ["token check, warm", "2 µs", f"{checks['token, warm']['cpu_us']:.1f} µs of CPU"],
        ["token endpoints, p95", "20 ms", worst(giving, 95)],
        ["a whole authentication, p99", "5 ms", worst(whole, 99)],
    ]


async def in_process(data: Path, key: str, rounds: int) -> dict[str, dict[str, float]]:
    async with open_cloud(ServerSettings(data=data)) as cloud:
        await cloud.watch.listen()
        return await checks(cloud, key, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="not used: `make bench` names one to every script")
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as name:
        home = Path(name, "home")
        with satchel_served(home) as (url, _, pid):
            key = stored_key(home)
            asked = endpoints(url, pid, key, options.requests)
        took = asyncio.run(in_process(home / "served", key, options.rounds))
    report(
        "One check, in process",
        [[what, f"{one['cpu_us']:.1f}", one["queries"]] for what, one in took.items()],
        ["", "CPU µs", "queries"],
    )
    figures = {
        what: {
            f"{of}p{share}_ms": percentile(list(times), share / 100)
            for of, times in (("", [each.wall for each in rows]), ("cpu_", [each.cpu for each in rows]))
            for share in (50, 95, 99)
        }
        for what, rows in asked.items()
    }
    report(
        "One request, one connection",
        [[what, *(f"{value:.2f}" for value in one.values())] for what, one in figures.items()],
        ["", "p50 ms", "p95 ms", "p99 ms", "CPU p50", "CPU p95", "CPU p99"],
    )
    report("Asked for, and found", asked_for(took, figures), ["", "at most", "found"])
    save(options.json, {"checks": took, "endpoints": figures})


if __name__ == "__main__":
    main()
