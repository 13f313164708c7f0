"""Ways in which a caller could try to be taken for another tenant, or to have its things named: none may work.

Each attempt is a request of tenant A's that points at tenant B by a header, the path, the query, the body, the spelling
of a name, a cursor, an ETag or an idempotency key. It has to come to exactly what the same request comes to with
something in that place that never was (or with nothing there), and to hold none of B's marks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote

from satchel.remote.raw import Reply
from satchel.server.isolation.expectations import CALLERS, Target
from satchel.server.isolation.matrix import difference, leaks
from satchel.server.isolation.requests import JSON, Request, decoded, message, seen
from satchel.server.isolation.tools import ERAS
from satchel.server.isolation.world import World

TENANT_HEADERS = (
    "X-Tenant", "X-Tenant-Id", "Tenant", "Satchel-Tenant", "X-Satchel-Tenant", "X-Scope-OrgID", "X-Organization-Id",
    "X-Account-Id", "X-Forwarded-User", "X-Remote-User", "X-Auth-Request-User", "X-Forwarded-Tenant",
    "X-Impersonate-User", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-HTTP-Method-Override",
)  # fmt: skip
_OWNER = next(caller for caller in CALLERS if caller.name == "tenant admin")
_FULL = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ")


class Attempt(NamedTuple):
    """One try."""

    name: str
    """By what, and where."""
    request: Request
    control: Request
    """What it has to look like."""
    key: str


class Worked(NamedTuple):
    """A try that did not come to what its control came to."""

    attempt: str
    problem: str

    def __str__(self) -> str:
        return f"{self.attempt}: {self.problem}"


def attempts(world: World) -> Iterator[Attempt]:
    """All of them."""
    for make in (_by_header, _by_path, _by_spelling, _by_query, _by_body, _by_message, _by_precondition, _by_cursor):
        yield from make(world)


def tried(world: World, attempt: Attempt) -> Worked | None:
    """What is wrong with how an attempt was answered; ``None`` where it got nowhere."""
    control = world.asking.send(attempt.control, attempt.key)
    reply = world.asking.send(attempt.request, attempt.key)
    leaked = leaks(world, _OWNER, reply)
    if leaked:
        return Worked(attempt.name, f"the answer holds a mark of {', '.join(leaked)}")
    if _plain(world, reply) != _plain(world, control):
        return Worked(attempt.name, f"not answered as its control: {difference(reply, control)}")
    return None


def run(world: World) -> tuple[int, list[Worked]]:
    """How many were tried, and those that worked."""
    found = [tried(world, attempt) for attempt in attempts(world)]
    return len(found) + 1, [*(worked for worked in found if worked is not None), *idempotency(world)]


def _plain(world: World, reply: Reply) -> object:
    """An answer without what was named, which some answers repeat, nor how long it is."""
    status, headers, body = seen(reply)
    for things in (_theirs(world), _never(world)):
        for value in sorted(things.values(), key=len, reverse=True):
            body = body.replace(value.encode(), b"?")
    return status, [(name, value) for name, value in headers if name != "content-length"], body


# The ways ------------------------------------------------------------------------------------------------------------


def _attempt(world: World, name: str, made: Iterable[Request]) -> Attempt:
    """``made``: the request that names what is the other tenant's, and the one that names what never was."""
    foreign, control = made
    return Attempt(name, foreign, control, world.a.owner)


def _get(path: str, *headers: tuple[str, str]) -> Request:
    return Request("", "GET", f"/api/v1{path}", headers, None)


def _send(method: str, path: str, body: object, *headers: tuple[str, str]) -> Request:
    return Request("", method, f"/api/v1{path}", (("content-type", JSON), *headers), json.dumps(body).encode())


def _theirs(world: World) -> dict[str, str]:
    return world.things[Target.OTHER_TENANT]


def _never(world: World) -> dict[str, str]:
    return world.things[Target.ABSENT]


def _by_header(world: World) -> Iterator[Attempt]:
    b, theirs = world.b, _theirs(world)
    whoami, listed = _get("/auth/whoami"), _get("/projects")
    for header in TENANT_HEADERS:
        for value in (b.id, b.slug, f"/api/v1/projects/{theirs['id']}"):
            for control in (whoami, listed):
                name = f"header {header}: {value}, at {control.path}"
                yield Attempt(name, control._replace(headers=((header, value),)), control, world.a.owner)
    for header, value in (
        ("Forwarded", f"for=127.0.0.1;host={b.slug}.example;by={b.id}"),
        ("X-Forwarded-Host", f"{b.slug}.example"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("Cookie", f"tenant={b.id}; session={b.owner}"),
        ("Proxy-Authorization", f"Bearer {b.owner}"),
        ("X-Api-Key", b.owner),
    ):
        yield Attempt(f"header {header}", whoami._replace(headers=((header, value),)), whoami, world.a.owner)
    # A second credential: refused, by a proxy too, or not looked at, but never the other one.
    second, never = (whoami._replace(headers=(("authorization", f"Bearer {key}"),)) for key in (b.owner, b.owner[::-1]))
    yield Attempt("header Authorization, a second one", second, never, world.a.owner)


def _by_path(world: World) -> Iterator[Attempt]:
    own, both = world.things[Target.OWN]["id"], (_theirs(world), _never(world))
    up = "%2F..%2F{}%2Fartifacts%2Fdocs%2Fa.md"
    for name, shape in {
        "the project": "/projects/{}",
        "the slug, with its tenant's before it": "/projects/" + world.b.slug + "%2F{}",
        "a step up from the own project": f"/projects/{own}/../{{}}",
        "an escaped step up": f"/projects/{own}%2F..%2F{{}}",
        "a doubly escaped step up": f"/projects/{own}/artifacts/.." + up.replace("%", "%25"),
        "a step up inside an artifact's path": f"/projects/{own}/artifacts/../../{{}}/artifacts/docs/a.md",
        "an escaped step up inside an artifact's path": f"/projects/{own}/artifacts/.." + up,
        "a NUL behind it": "/projects/{}%00",
        "a parameter behind it": "/projects/{};tenant=" + world.b.id,
        "a slash before it": "/projects//{}",
        "the tenant before it": "/tenants/" + world.b.id + "/projects/{}",
    }.items():
        for kind in ("id", "slug"):
            yield _attempt(world, f"path: {name}, by {kind}", (_get(shape.format(each[kind])) for each in both))
    for shape in ("/keys/{key}", "/members/{member}", f"/projects/{own}/grants/{{key}}"):
        made = (Request("", "DELETE", "/api/v1" + shape.format(**each), (), None) for each in both)
        yield _attempt(world, f"path: {shape.replace(own, 'own')}", made)


SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "one capital": str.capitalize,
    "full-width letters": lambda text: text.translate(_FULL),
    "a dotless i and a long s": lambda text: text.replace("i", "\u0131").replace("s", "\u017f"),
    "a Kelvin sign": lambda text: text.replace("k", "\u212a"),
    "a joiner inside": lambda text: f"{text[:3]}\u200d{text[3:]}",
    "a combining mark behind": lambda text: text + "\u0301",
    "white space around": lambda text: f" {text} ",
    "a dot behind": lambda text: text + ".",
    "a line's end behind": lambda text: text + "\n",
    "a byte order mark before": lambda text: "\ufeff" + text,
}


def _by_spelling(world: World) -> Iterator[Attempt]:
    """Under no folding or normalisation is a name another tenant's."""
    both = (_theirs(world), _never(world))
    for name, spell in SPELLINGS.items():
        for kind in ("slug", "id"):
            made = (_get(f"/projects/{quote(spell(each[kind]), safe='')}") for each in both)
            yield _attempt(world, f"spelling: {name}, of the {kind}", made)


def _by_query(world: World) -> Iterator[Attempt]:
    both = (_theirs(world), _never(world))
    for parameter in ("tenant", "tenant_id", "tenantId", "org", "as", "on_behalf_of"):
        made = (_get(f"/projects?{parameter}={each['tenant']}") for each in both)
        yield _attempt(world, f"query: {parameter}", made)
    for kind in ("id", "slug"):
        for name, shape in (("project", "&project={}"), ("project: in the words", "+project:{}")):
            made = (_get("/search?q=everywhere" + shape.format(each[kind])) for each in both)
            yield _attempt(world, f"query: {name}, by {kind}", made)


def _by_body(world: World) -> Iterator[Attempt]:
    own, both = world.things[Target.OWN]["id"], (_theirs(world), _never(world))
    for kind in ("id", "slug"):
        for path, body in (
            ("/keys", {"name": "k", "projects": [{"project": "{}", "role": "read"}]}),
            ("/search", {"query": "everywhere", "projects": ["{}"]}),
        ):
            made = (_send("POST", path, _put_in(body, each[kind])) for each in both)
            yield _attempt(world, f"body: projects of POST {path}, by {kind}", made)
    for kind in ("key", "member"):
        made = (_send("POST", f"/projects/{own}/grants", {"principal": each[kind], "role": "read"}) for each in both)
        yield _attempt(world, f"body: principal of a grant, a {kind}", made)
    for name in ("tenant", "tenantId", "tenant_id"):
        for method, path in (("POST", "/keys"), ("POST", "/search"), ("PATCH", "/tenant"), ("POST", "/projects")):
            made = (_send(method, path, {"name": "k", "query": "k", name: each["tenant"]}) for each in both)
            yield _attempt(world, f"body: {name} in {method} {path}", made)
    yield from _by_object(world, own)


def _by_object(world: World, own: str) -> Iterator[Attempt]:
    objects = (_theirs(world)["object"], _never(world)["object"])
    for path in ("objects/query", "objects/read"):
        made = (_send("POST", f"/projects/{own}/{path}", {"objects": [each]}) for each in objects)
        yield _attempt(world, f"body: an object of the other tenant in {path}", made)
    head = world.asking.call(world.a.owner, "GET", f"/projects/{own}")
    parent = {name: head[name] for name in ("lineage", "version", "digest")}
    change = {"path": "x.md", "mode": "100644", "object": "{}", "size": 10}
    commit = {"parent": parent, "digest": "1" * 64, "changes": [change]}
    made = (_send("POST", f"/projects/{own}/commits", _put_in(commit, each)) for each in objects)
    yield _attempt(world, "body: an object of the other tenant in a commit", made)


def _put_in(body: object, value: str) -> object:
    return json.loads(json.dumps(body).replace("{}", value))


def _by_message(world: World) -> Iterator[Attempt]:
    both = (_theirs(world), _never(world))
    tools: Mapping[str, dict[str, str]] = {"context_get": {}, "artifacts_get": {"path": "docs/a.md"}, "history": {}}
    for era in ERAS:
        for kind in ("id", "slug"):
            for tool, more in tools.items():
                made = (_call(era, tool, project=each[kind], **more) for each in both)
                yield _attempt(world, f"MCP {era}: project of {tool}, by {kind}", made)
            uris = ({"uri": f"satchel://{each[kind]}/docs/a.md"} for each in both)
            yield _attempt(
                world, f"MCP {era}: a resource, by {kind}", (message(era, "resources/read", u) for u in uris)
            )
        named = (_call(era, "projects_list", tenant=each["tenant"]) for each in both)
        yield _attempt(world, f"MCP {era}: tenant among the arguments", named)
        plain = _call(era, "projects_list")
        more_headers = (*plain.headers, ("mcp-session-id", world.b.id), ("x-tenant", world.b.id))
        yield _attempt(world, f"MCP {era}: tenant and session headers", (plain._replace(headers=more_headers), plain))


def _call(era: str, tool: str, **arguments: str) -> Request:
    return message(era, "tools/call", {"name": tool, "arguments": arguments})


def _by_precondition(world: World) -> Iterator[Attempt]:
    """An ETag is a hash of content: whether somebody else has that content must not be told."""
    at = f"/api/v1/projects/{world.things[Target.OWN]['id']}/artifacts/docs/a.md"
    for method, header in (("GET", "if-none-match"), ("DELETE", "if-match")):
        tags = (f'"{name}"' for name in (_theirs(world)["object"], _never(world)["object"]))
        made = (Request("", method, at, ((header, tag),), None) for tag in tags)
        yield _attempt(world, f"ETag of the other tenant's content in {header}", made)


def _by_cursor(world: World) -> Iterator[Attempt]:
    """A cursor of another tenant's list names a place in the own list, or none: it never leads there."""
    own, theirs = world.things[Target.OWN]["id"], _theirs(world)
    for what in ("changes", "artifacts", "tasks", "versions"):
        page = world.asking.call(world.b.owner, "GET", f"/projects/{theirs['id']}/{what}?limit=1")
        if page["next"] is not None:
            request = _get(f"/projects/{own}/{what}?limit=1&cursor={quote(page['next'], safe='')}")
            yield _attempt(world, f"cursor of the other tenant's {what}", (request, request))


def idempotency(world: World) -> list[Worked]:
    """The same idempotency key with the same body, sent by another tenant, another principal, and then by the own one:
    each gets a result of its own."""
    header = ("idempotency-key", f"same-{world.word()}")
    request = _send("POST", "/keys", {"name": "same", "role": "read"}, header)
    senders = (world.b.owner, world.keys["tenant admin"], world.a.owner)
    ids = [_id_of(world.asking.send(request, key)) for key in senders]
    if len(set(ids)) == len(ids) and all(ids):
        return []
    return [Worked("idempotency key of another tenant and of another principal", "a result was shared")]


def _id_of(reply: Reply) -> str:
    told = decoded(reply)
    return str(told.get("id")) if isinstance(told, dict) else ""
