"""``satchel tenant``: the tenant one acts in; and, for the operator of a server, its tenants."""

from __future__ import annotations

import click

from satchel.cli.face import Face
from satchel.cli.hosted import open_remote
from satchel.cli.tenant_audit import audit
from satchel.cli.tenant_export import export
from satchel.cli.tenant_operate import create, delete, list_, restore, resume, storage, suspend
from satchel.cli.tenant_people import invite, leave, members, password, remove, role_
from satchel.cli.tenant_settings import retention, settings
from satchel.cli.tenant_usage import quota, usage
from satchel.cli.verb import VerbGroup, verb

_SUMMARY = "Show the tenant, its people and usage; run tenants as the operator."
command = VerbGroup("tenant", help=_SUMMARY, short_help=_SUMMARY)


@verb(
    "show",
    examples=[("satchel tenant show", "The tenant you act in."), ("satchel tenant show --json", "For a program.")],
    gives=(
        "The tenant as REST gives it: `id`, `slug`, `name`, `state`, `createdAt`, `deleteAt`, `settings`, "
        "`settingsRevision`, `quota`."
    ),
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.option("--url", help="The server.")
def show(face: Face, url: str | None) -> None:
    """Show the tenant.

    The tenant follows from your credential; there is no way to name another.
    """
    tenant = open_remote(face, url).call("GET", "/tenant")
    face.answer(tenant, lambda: face.line(f"{tenant['slug']}  {tenant['name']}  {tenant['id']}  {tenant['state']}"))


for word in (
    *(show, usage, settings, retention, export, audit),
    *(members, invite, role_, remove, leave, password),
    *(create, list_, suspend, resume, delete, restore, storage, quota),
):
    command.add_command(word)
