"""What a tenant or a project is called, sealed beside its content, so that a rebuild need not ask anybody.

The catalog decides; these are copies, replaced after the catalog changed. A crash in between leaves one stale until
the next backup writes it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from satchel.errors import SealBroken, StoreMissing
from satchel.objects.ids import Lineage, ProjectId, TenantId
from satchel.objects.seal import SALT_BYTES, Binding, open_sealed, seal
from satchel.store.keyring import Keyring
from satchel.store.objectstore import ObjectStore

_FORMAT = "satchel-about 1"
_KIND = "about"


class TenantAbout(NamedTuple):
    """A tenant as its operator named it. ``state`` is ``active``, ``suspended`` or ``deleting``.

    ``created`` is milliseconds UTC.
    """

    slug: str
    name: str
    state: str
    created: int


class ProjectAbout(NamedTuple):
    """A project as its people named it, and the lineage its head is of; times are milliseconds UTC."""

    slug: str
    description: str
    created: int
    archived: int | None
    lineage: Lineage


_About = TypeVar("_About", TenantAbout, ProjectAbout)


class Abouts:
    """Reads and writes these copies."""

    def __init__(self, store: ObjectStore, keyring: Keyring, *, random: Callable[[int], bytes]) -> None:
        self._store, self._keyring, self._random = store, keyring, random

    async def tenant(self, tenant: TenantId) -> TenantAbout | None:
        """What was said of a tenant, ``None`` if nothing was. Raises ``SealBroken``, ``WrongKey``, as the keyring."""
        return await self._get(TenantAbout, tenant, "")

    async def project(self, tenant: TenantId, project: ProjectId) -> ProjectAbout | None:
        """The same of a project."""
        return await self._get(ProjectAbout, tenant, project)

    async def put_tenant(self, tenant: TenantId, about: TenantAbout) -> None:
        """Say what a tenant is now, durably, in place of what was said before."""
        await self._put(tenant, "", about)

    async def put_project(self, tenant: TenantId, project: ProjectId, about: ProjectAbout) -> None:
        """The same of a project."""
        await self._put(tenant, project, about)

    async def _put(self, tenant: TenantId, project: str, about: TenantAbout | ProjectAbout) -> None:
        text = json.dumps({"format": _FORMAT, **about._asdict()}, ensure_ascii=False).encode()
        epoch, key = await self._keyring.current(tenant)
        binding = Binding(tenant, project, _KIND)
        sealed = seal(key, binding, _KIND, text, epoch=epoch, salt=self._random(SALT_BYTES))
        await self._store.put(_name(tenant, project), sealed)

    async def _get(self, kind: type[_About], tenant: TenantId, project: str) -> _About | None:
        try:
            sealed = await self._store.get(_name(tenant, project))
        except StoreMissing:
            return None
        key_of = await self._keyring.key_of(tenant)
        fields: dict[str, Any] = json.loads(open_sealed(key_of, Binding(tenant, project, _KIND), _KIND, sealed))
        if fields.pop("format", None) != _FORMAT or fields.keys() != set(kind._fields):
            raise SealBroken("what is said of a tenant or project is not in the form of this version")
        return kind(**fields)


def _name(tenant: TenantId, project: str) -> str:
    return f"tenants/{tenant}/projects/{project}/about" if project else f"tenants/{tenant}/about"
