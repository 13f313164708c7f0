"""Which answer each operation owes to each caller at each target: rules and tables, no IO.

A cell of the matrix is an operation, a caller and a target. ``expected`` computes its answer from what the operation
needs and what the caller has; an operation without a row in ``rest`` or ``tools`` has no answer and fails the build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from satchel.auth.roles import Role


class Needs(Enum):
    """What an operation asks of its caller."""

    ANYONE = "anyone"
    SIGNED_IN = "a credential that counts"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    CREATOR = "write on all projects"
    TENANT_ADMIN = "admin of the tenant"
    OPERATOR = "operator"


ROLE = {Needs.READ: Role.READ, Needs.WRITE: Role.WRITE, Needs.ADMIN: Role.ADMIN}


class Target(Enum):
    """What an operation is asked to act on."""

    OWN = "own"
    """The project the callers' roles are on, and things of its tenant."""
    OTHER_PROJECT = "other project"
    """Of the same tenant; nobody but its admins has a role on it."""
    OTHER_TENANT = "other tenant"
    ABSENT = "absent"
    """Well-formed, and never was."""


class Outcome(NamedTuple):
    """A status, and the code of the problem if the answer is one."""

    status: int
    code: str = ""

    def __str__(self) -> str:
        return f"{self.status} {self.code}".rstrip()


NO_PROJECT = Outcome(404, "project.not_found")
NOTHING = Outcome(404, "resource.not_found")
INSUFFICIENT = Outcome(403, "auth.insufficient_scope")
DONE = Outcome(200)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, and a request for it that is in order.

    Texts in braces stand for what a cell puts there, in the address, the query, the body and the headers alike:
    ``{p}`` the project, ``{key}``, ``{member}``, ``{principal}``, ``{tenant}`` such things of the target, ``{path}`` an
    artifact that is in every project, ``{who}`` the caller, ``{fresh}`` a word never used before.
    """

    name: str
    """``GET /api/v1/projects/{p}`` as the API's description has it, or ``MCP`` and the tool or method."""
    needs: Needs
    ok: Outcome = DONE
    """What the request comes to where it is allowed."""
    body: object = None
    """Bytes as they are, anything else as JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    unseen: Outcome = NO_PROJECT
    """What a project comes to that the caller may not read."""
    narrow: Outcome = INSUFFICIENT
    """What it comes to for who may see the project and not do this."""
    last: int = 0
    """Above 0: after it the target is not what it was, so that it is asked after those with less."""

    @property
    def of_project(self) -> bool:
        return self.needs in ROLE

    @property
    def is_mcp(self) -> bool:
        return self.name.startswith("MCP ")

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets that make a difference to it."""
        if self.of_project:
            return tuple(Target)
        if any(part in self.name for part in ("{key}", "{member}", "{tenant}")):
            return (Target.OWN, Target.OTHER_TENANT, Target.ABSENT)
        return (Target.OWN,)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what was given to it."""

    name: str
    refused: Outcome | None = None
    """Why its credential does not count, wherever one is needed."""
    roles: Mapping[Target, Role] = field(default_factory=dict)
    home: Target = Target.OWN
    """Where its tenant's things are: ``OWN`` or ``OTHER_TENANT``."""
    tenant_admin: bool = False
    creates: bool = False
    operator: bool = False
    """Runs the server, from a tenant that is none of those founded for the proof."""


_OWN = Target.OWN
_EVERYWHERE = (Target.OWN, Target.OTHER_PROJECT)
_INVALID = Outcome(401, "auth.invalid")
CALLERS: tuple[Caller, ...] = (
    Caller("none", refused=Outcome(401, "auth.missing")),
    Caller("malformed", refused=_INVALID),
    Caller("revoked", refused=_INVALID),
    Caller("token of a revoked key", refused=_INVALID),
    Caller("suspended tenant", refused=Outcome(403, "tenant.suspended")),
    Caller("no grant"),
    Caller("grant removed"),
    Caller("read", roles={_OWN: Role.READ}),
    Caller("token of read", roles={_OWN: Role.READ}),
    Caller("write", roles={_OWN: Role.WRITE}),
    Caller("admin", roles={_OWN: Role.ADMIN}),
    Caller("read everywhere", roles=dict.fromkeys(_EVERYWHERE, Role.READ)),
    Caller("write everywhere", roles=dict.fromkeys(_EVERYWHERE, Role.WRITE), creates=True),
    Caller("tenant admin", roles=dict.fromkeys(_EVERYWHERE, Role.ADMIN), tenant_admin=True, creates=True),
    Caller(
        "admin of another tenant",
        roles={Target.OTHER_TENANT: Role.ADMIN},
        home=Target.OTHER_TENANT,
        tenant_admin=True,
        creates=True,
    ),
    Caller("operator", operator=True),
    Caller("expired", refused=Outcome(401, "auth.expired")),
)
"""In the order in which they ask: a key lives a minute at least, so the expired one comes last."""


def concerns(operation: Operation, caller: Caller, target: Target) -> bool:
    """Whether the cell is asked at all.

    An operator acts in a tenant that is not the proof's to change: it is asked for projects, which it must not see, and
    for its own addresses, where those name what is absent.
    """
    if not caller.operator or operation.of_project:
        return True
    return operation.needs is Needs.OPERATOR and (len(operation.targets) == 1 or target is Target.ABSENT)


def expected(operation: Operation, caller: Caller, target: Target) -> Outcome:
    """The answer that a cell owes."""
    if operation.needs is not Needs.ANYONE and caller.refused is not None:
        return caller.refused
    if lets_in(operation, caller, target):
        # An address of a tenant's own things, or of a tenant: what is not there, or not theirs, is not found.
        home = operation.needs is not Needs.OPERATOR and target is caller.home
        return operation.ok if operation.of_project or len(operation.targets) == 1 or home else NOTHING
    if operation.of_project and target not in caller.roles:
        return operation.unseen
    return NOTHING if operation.needs is Needs.OPERATOR else operation.narrow


def lets_in(operation: Operation, caller: Caller, target: Target) -> bool:
    """Whether the caller may do what it asks, so that the request itself is looked at, and may change something."""
    if operation.needs is Needs.ANYONE:
        return True
    if caller.refused is not None:
        return False
    role = caller.roles.get(target)
    match operation.needs:
        case Needs.SIGNED_IN:
            return True
        case Needs.OPERATOR:
            return caller.operator
        case Needs.CREATOR:
            return caller.creates
        case Needs.TENANT_ADMIN:
            return caller.tenant_admin
        case _:
            return role is not None and role >= ROLE[operation.needs]
