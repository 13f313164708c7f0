"""The tenants that a proof founds: two that must never meet and one that is suspended, with everybody who asks.

Each is founded with a lease (``LEASE_SECONDS``), so that it goes by itself where the proof dies, and is deleted at the
end. Marks are random words: where one of them can be read tells whose thing was shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from satchel.auth.roles import Role
from satchel.errors import CredentialMissing, InvalidInput, SatchelError
from satchel.objects.ids import object_id
from satchel.server.isolation.asking import Asking
from satchel.server.isolation.expectations import CALLERS, Caller, Target
from satchel.server.isolation.requests import Place

LEASE_SECONDS = 4 * 60 * 60
"""How long a founded tenant lives at most."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
EXPIRY_SECONDS = 60
"""The shortest life a key can be given."""
_NEVER = "0" * 26
_PLAIN = (("content-type", "text/plain"), ("if-none-match", "*"))
PROJECTS = (Target.OWN, Target.OTHER_PROJECT, Target.OTHER_TENANT)


@dataclass
class Tenant:
    """A founded tenant."""

    id: str
    slug: str
    owner: str
    """Its owner's key."""
    mark: str
    """Stands in its name and the names of its keys and members."""


@dataclass
class World:
    """What the cells need."""

    asking: Asking
    word: Callable[[], str]
    """A random word, never the same twice."""
    a: Tenant
    b: Tenant
    keys: dict[str, str | None] = field(default_factory=dict)
    """The credential of each caller; the expired one's counts until ``expires``."""
    things: dict[Target, dict[str, str]] = field(default_factory=dict)
    """What stands in the braces of a request: for each target, but for ``{who}``, ``{path}`` and ``{fresh}``. And
    ``object``: what the artifact is that every project has."""
    marks: dict[Target, str] = field(default_factory=dict)
    """What can be read in a project's description, and the path, title and text of an artifact."""

    def tenant(self, target: Target) -> Tenant:
        return self.b if target is Target.OTHER_TENANT else self.a

    def places(self, target: Target, caller: Caller, *, own_file: bool = False) -> Iterator[tuple[str, Place]]:
        """What to put into a request for a target, naming the project by its id and by its slug.

        With ``own_file`` the artifact is one that is there for this caller alone, for a request that may change it.
        """
        things = self.things[target]
        path = f"docs/{_file_of(caller)}.md" if own_file else "docs/a.md"
        for naming in ("id", "slug"):
            project = things[naming]
            rest = {"p": project, "path": path, "who": _file_of(caller), "fresh": self.word(), "n": "1"}
            yield naming, {**things, **rest, "uri": f"satchel://{project}/{path}"}

    def unknown_to(self, caller: Caller) -> list[tuple[str, bytes]]:
        """The marks that no answer to a caller may hold, each with whose it is."""
        hidden = [(f"the {target.value}", self.marks[target]) for target in PROJECTS if target not in caller.roles]
        if not caller.operator:  # who runs a server knows its tenants by name
            at_home = None if caller.refused else self.tenant(caller.home)
            hidden += [("another tenant", t.mark) for t in (self.a, self.b) if t is not at_home]
        return [(whose, mark.encode()) for whose, mark in hidden]

    def state(self) -> dict[str, object]:
        """Everything of both tenants that a request could have changed, as their owners see it."""
        found: dict[str, Any] = {}
        for tenant in (self.a, self.b):

            def ask(path: str, key: str = tenant.owner) -> Any:
                return self.asking.call(key, "GET", path)

            lists = ("/tenant", "/keys?limit=1000", "/members?limit=1000")
            found |= {f"{tenant.slug}{path}": ask(path) for path in lists}
            for key in found[f"{tenant.slug}/keys?limit=1000"]["items"]:
                del key["lastUsedAt"]  # which a request changes by being made
            projects = ask("/projects?limit=1000&archived=true")["items"]
            for project in projects:
                below = f"/projects/{project['id']}"
                for path in ("/changes", "/grants?limit=1000", "/versions"):
                    found[f"{tenant.slug}{below}{path}"] = ask(below + path)
            found[f"{tenant.slug}/projects"] = projects
        return found


@contextmanager
def founded(
    asking: Asking, operator: str, word: Callable[[], str], *, expired: Callable[[Tenant], str] | None = None
) -> Iterator[World]:
    """A world with everything in it, gone when the block ends, however it ends.

    ``expired`` gives a key of a tenant that has expired already; without it one is made, which expires a minute later.
    Raises ``InvalidInput`` where ``operator`` is not an operator's key.
    """
    if not operator:
        raise CredentialMissing("this needs an operator's key")
    if not asking.call(operator, "GET", "/auth/whoami")["operator"]:
        raise InvalidInput("the credential is not an operator's", hint="Give the key that `satchel serve` printed.")
    tenants: list[Tenant] = []
    try:
        for name in ("a", "b", "c"):
            tenants.append(found_tenant(asking, operator, word, name))  # noqa: PERF401 (those made are deleted)
        a, b, c = tenants
        world = World(asking, word, a, b)
        _fill(world)
        _let_in(world, operator, c, expired)
        yield world
    finally:
        for tenant in tenants:
            dissolve(asking, operator, tenant.id)


def found_tenant(asking: Asking, operator: str, word: Callable[[], str], name: str) -> Tenant:
    """A new tenant, on lease."""
    mark = word()
    slug = f"proof-{word()[:12]}-{name}"
    wanted = {"slug": slug, "name": f"Proof {mark}", "expiresSeconds": LEASE_SECONDS}
    made = asking.call(operator, "POST", "/admin/tenants", wanted, [("idempotency-key", word())])
    return Tenant(made["tenant"]["id"], slug, made["adminKey"], mark)


def dissolve(asking: Asking, operator: str, tenant: str) -> None:
    """Delete a tenant at once. Where that fails its lease ends it."""
    try:
        asking.call(operator, "DELETE", f"/admin/tenants/{tenant}?now=true")
    except SatchelError:
        pass


def _fill(world: World) -> None:
    for target in PROJECTS:
        tenant, mark = world.tenant(target), world.word()
        world.marks[target] = mark
        slug = world.word()[:16]
        made = world.asking.call(
            tenant.owner, "POST", "/projects", {"slug": slug, "description": f"Description {mark}"}
        )
        world.things[target] = {"id": made["id"], "slug": slug, "tenant": tenant.id, **_people(world, tenant)}
        text = f"# Everywhere {mark}\n\nText {mark}.\n\n- [ ] do {mark}\n"
        world.things[target]["object"] = object_id(text.encode())
        files = {"docs/a.md": text, f"docs/{mark}.md": text}
        files |= {f"docs/{_file_of(caller)}.md": text for caller in CALLERS if target in caller.roles}
        for path, content in files.items():
            put(world.asking, tenant.owner, made["id"], path, content.encode())
    world.things[Target.ABSENT] = {
        "id": f"prj_{_NEVER}", "slug": "never-was", "tenant": f"ten_{_NEVER}", "key": f"key_{_NEVER}",
        "member": f"mem_{_NEVER}", "principal": f"key_{_NEVER}", "invitation": f"inv_{_NEVER}", "object": "0" * 64,
    }  # fmt: skip


def put(asking: Asking, key: str, project: str, path: str, content: bytes) -> None:
    """Write a new artifact."""
    asking.call(key, "PUT", f"/projects/{project}/artifacts/{path}", content, _PLAIN)


def _people(world: World, tenant: Tenant) -> dict[str, str]:
    """A key and a member of a tenant, for whoever may remove them."""
    asking = world.asking
    key = asking.call(tenant.owner, "POST", "/keys", {"name": f"spare {tenant.mark}", "role": "read"})["id"]
    wanted = {
        "email": f"{world.word()}@{tenant.mark}.example",
        "name": f"Member {tenant.mark}",
        "password": world.word() + world.word(),
    }
    member = asking.call(tenant.owner, "POST", "/members", wanted)["id"]
    return {"key": key, "member": member, "principal": f"key_{_NEVER}", "invitation": f"inv_{_NEVER}"}


def _let_in(world: World, operator: str, suspended: Tenant, expired: Callable[[Tenant], str] | None) -> None:
    asking, owner = world.asking, world.a.owner
    own = world.things[Target.OWN]["id"]

    def made(*on: str, given: str = "admin", **fields: object) -> dict[str, Any]:
        wanted: dict[str, object] = {"name": f"caller {world.a.mark}", **fields}
        if on:
            wanted["projects"] = [{"project": project, "role": given} for project in on]
        found: dict[str, Any] = asking.call(owner, "POST", "/keys", wanted)
        return found

    def granted(role: Role) -> str:
        return str(made(own, given=role.value)["key"])

    if expired is not None:
        old = expired(world.a)
    else:
        old = made(role="read", expiresIn=EXPIRY_SECONDS, tenantRole="admin")["key"]
    third = asking.call(owner, "POST", "/projects", {"slug": world.word()[:16]})["id"]
    revoked, without = made(tenantRole="admin"), made(third)
    removed = made(own, third)
    asking.call(owner, "DELETE", f"/projects/{own}/grants/{removed['id']}")
    token_of_revoked = token(asking, revoked["key"])
    asking.call(owner, "DELETE", f"/keys/{revoked['id']}")
    asking.call(operator, "PATCH", f"/admin/tenants/{suspended.id}", {"suspended": True})
    read = granted(Role.READ)
    world.keys |= {
        "none": None,
        "malformed": "stl_live_" + world.word(),
        "revoked": revoked["key"],
        "token of a revoked key": token_of_revoked,
        "suspended tenant": suspended.owner,
        "no grant": without["key"],
        "grant removed": removed["key"],
        "read": read,
        "token of read": token(asking, read),
        "write": granted(Role.WRITE),
        "admin": granted(Role.ADMIN),
        "read everywhere": made(role="read")["key"],
        "write everywhere": made(role="write")["key"],
        "tenant admin": made(tenantRole="admin")["key"],
        "admin of another tenant": world.b.owner,
        "operator": operator,
        "expired": old,
    }


def token(asking: Asking, key: str) -> str:
    """An access token for a key."""
    return str(asking.call(None, "POST", "/auth/token", {"apiKey": key})["accessToken"])


def _file_of(caller: Caller) -> str:
    return caller.name.replace(" ", "-")


def random_words(random: Callable[[int], bytes]) -> Callable[[], str]:
    """Makes words of 24 letters out of random bytes."""
    return lambda: "".join(LETTERS[byte % 26] for byte in random(24))


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The names of what is not as it was."""
    names = sorted(before.keys() | after.keys())
    return [name for name in names if json.dumps(before.get(name)) != json.dumps(after.get(name))]
