"""What a check of an installation found, in words for whoever has to act on it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import NamedTuple

from satchel.catalog.inspection import Where
from satchel.objects.ids import ObjectId, ProjectId, TenantId

MAX_PROBLEMS = 1_000
"""Most problems of one project that are named; the rest is counted."""


class Target(NamedTuple):
    """A project that is looked at, and the oldest of its versions that is to be readable (0 or 1: all are)."""

    tenant: TenantId
    project: ProjectId
    floor: int


ASKED_FOR = "lost, and noted: whoever still has it sends it with their next sync"
"""Why an object cannot be read that a repair has noted as lost."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was written."""

    kind: str
    """``catalog``, ``audit``, ``keyring``, ``about``, ``pack``, ``object``, ``record``, ``head``, ``version``,
    ``table``, ``purge``, ``usage``, ``index``: what of."""
    name: str
    """Its name in the store, or what it is in the catalog."""
    why: str
    tenant: str = ""
    project: str = ""
    """Slugs; empty where it concerns more than one."""
    places: tuple[Where, ...] = ()
    """The newest paths and versions that are affected; ``affected`` counts them all."""
    affected: int = 0
    objects: tuple[ObjectId, ...] = ()
    """Content that cannot be read because of it."""
    tenant_id: TenantId | None = None
    project_id: ProjectId | None = None

    @property
    def noted(self) -> bool:
        """Whether clients are asked for it already."""
        return self.why == ASKED_FOR

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.why}"


@dataclass(slots=True)
class Findings:
    """Collects the problems of one project, a bounded number of them."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    more: int = 0

    def add(self, kind: str, name: str, why: str, objects: tuple[ObjectId, ...] = ()) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(kind, name, why, objects=objects))
        else:
            self.more += 1


@dataclass(slots=True)
class VerifyReport:
    """What was looked at and what was found. Sound, unless there are ``problems``."""

    full: bool
    tenants: int = 0
    projects: int = 0
    versions: int = 0
    packs: int = 0
    objects: int = 0
    """Objects that were read and hashed; 0 without ``full``."""
    bytes: int = 0
    """Of their content."""
    stored_bytes: int = 0
    """Sealed bytes of the packs that were looked at."""
    audit_rows: int = 0
    """Rows of audits that were compared with their seals."""
    orphans: int = 0
    """Stored objects that nothing names: what crashes left, harmless, removed by ``collect``."""
    orphan_bytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    more_problems: int = 0
    notes: list[str] = field(default_factory=list)
    """What is worth knowing and no damage."""

    @property
    def clean(self) -> bool:
        return not self.problems

    def add(self, other: VerifyReport) -> None:
        """Take over what was found elsewhere."""
        for each in fields(self):
            if each.name != "full":
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
