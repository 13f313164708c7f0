"""``satchel tenant``: the tenant and its usage; and, for the operator of a server, its tenants."""

from __future__ import annotations

import click

from satchel.cli.face import Face, plural, size
from satchel.cli.hosted import open_remote, replay_key
from satchel.cli.verb import VerbGroup, verb
from satchel.remote import Remote

_SUMMARY = "Show the tenant and its usage; run tenants as the operator."
command = VerbGroup("tenant", help=_SUMMARY, short_help=_SUMMARY)
_STATUSES = (0, 1, 2, 4, 5, 6)


@verb(
    "show",
    examples=[("satchel tenant show", "The tenant you act in."), ("satchel tenant show --json", "For a program.")],
    gives="The tenant as REST gives it: `id`, `slug`, `name`, `state`, `createdAt`, `retention`.",
    statuses=_STATUSES,
)
@click.option("--url", help="The server.")
def show(face: Face, url: str | None) -> None:
    """Show the tenant.

    The tenant follows from your credential; there is no way to name another.
    """
    tenant = open_remote(face, url).call("GET", "/tenant")
    face.answer(tenant, lambda: face.line(f"{tenant['slug']}  {tenant['name']}  {tenant['id']}  {tenant['state']}"))


@verb(
    "usage",
    examples=[
        ("satchel tenant usage", "What is used of each quota."),
        ("satchel tenant usage --json", "The same in bytes, for a program."),
    ],
    gives="`quotas`, each with `name`, `used`, `limit`.",
    statuses=_STATUSES,
)
@click.option("--url", help="The server.")
def usage(face: Face, url: str | None) -> None:
    """Show what the tenant uses of its quotas.

    A full quota refuses writes and nothing else: what is stored can always be read.
    """
    answer = open_remote(face, url).call("GET", "/tenant/usage")

    def print_rows() -> None:
        for row in answer["quotas"]:
            amount = size if row["name"].endswith("Bytes") else "{:,}".format
            limit = amount(row["limit"]) if row["limit"] is not None else "no limit"
            face.line(f"{row['name']:<14} {amount(row['used'])} of {limit}")

    face.answer(answer, print_rows)


@verb(
    "retention",
    examples=[
        ("satchel tenant retention", "How long versions are kept."),
        ("satchel tenant retention --days 90", "Every state of the last 90 days stays readable, and no older one."),
        ("satchel tenant retention --versions 10", "The newest ten versions of each project."),
        ("satchel tenant retention --keep-all", "Every version for ever, as at first."),
    ],
    gives="The tenant as REST gives it; `retention` has `versions` and `days`, both null when all are kept.",
    statuses=_STATUSES,
)
@click.option("--keep-all", is_flag=True, help="Keep every version.")
@click.option("--versions", type=click.IntRange(1, 1_000_000), metavar="N", help="Keep the newest N of each project.")
@click.option("--days", type=click.IntRange(1, 36_500), metavar="D", help="Keep the states of the last D days.")
@click.option("--url", help="The server.")
def retention(face: Face, keep_all: bool, versions: int | None, days: int | None, url: str | None) -> None:
    """Show or set how long old versions are kept.

    The newest version is always kept whole. Older ones expire with the next collect, which the server runs once a day,
    and cannot be brought back. They stay listed in the history.
    """
    if sum((keep_all, versions is not None, days is not None)) > 1:
        raise click.UsageError("give one of --keep-all, --versions, --days")
    remote = open_remote(face, url)
    if keep_all or versions is not None or days is not None:
        tenant = remote.call("PATCH", "/tenant", json={"retention": {"versions": versions, "days": days}})
    else:
        tenant = remote.call("GET", "/tenant")
    face.answer(tenant, lambda: face.line(f"{tenant['slug']} keeps {_kept(tenant['retention'])}"))


def _kept(rule: dict[str, int | None]) -> str:
    if rule["versions"] is not None:
        return f"the newest {plural(rule['versions'], 'version')} of each project"
    return "every version" if rule["days"] is None else f"the states of the last {plural(rule['days'], 'day')}"


@verb(
    "create",
    examples=[
        ('satchel tenant create acme "Acme Ltd"', "A new tenant; its first admin key is printed once."),
        ('satchel tenant create acme "Acme Ltd" --json', "The same for a program."),
    ],
    gives="`tenant`, and `adminKey`, this once.",
    statuses=_STATUSES,
)
@click.argument("slug")
@click.argument("name")
@click.option("--url", help="The server.")
def create(face: Face, slug: str, name: str, url: str | None) -> None:
    """Create a tenant (operator).

    Prints the tenant's first admin key on stdout, this once. Nothing of one tenant can be seen from another.
    """
    made = open_remote(face, url).call(
        "POST", "/admin/tenants", json={"slug": slug, "name": name}, headers=replay_key()
    )

    def print_key() -> None:
        face.note(f"Tenant {slug} ({made['tenant']['id']}). Its admin key is shown this once:")
        face.line(made["adminKey"])

    face.answer(made, print_key)


@verb(
    "list",
    examples=[
        ("satchel tenant list", "Every tenant of the server."),
        ("satchel tenant list --json", "The same for a program."),
    ],
    gives="`items`, tenants as REST gives them.",
    statuses=_STATUSES,
)
@click.option("--url", help="The server.")
def list_(face: Face, url: str | None) -> None:
    """List the tenants of the server (operator)."""
    tenants = open_remote(face, url).rows("/admin/tenants")

    def print_rows() -> None:
        for row in tenants:
            face.line(f"{row['slug']}  {row['name']}  {row['id']}  {row['state']}")

    face.answer({"items": tenants}, print_rows)


@verb(
    "suspend",
    examples=[
        ("satchel tenant suspend acme", "Nobody of acme gets in any more; nothing is deleted."),
        ("satchel tenant suspend acme --yes", "The same without being asked."),
    ],
    gives="The tenant as REST gives it.",
    statuses=_STATUSES,
)
@click.argument("tenant")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--url", help="The server.")
def suspend(face: Face, tenant: str, yes: bool, url: str | None) -> None:
    """Suspend a tenant (operator).

    Every credential of it is refused until `satchel tenant resume`. Nothing is deleted.
    """
    if face.confirm(f"Suspend {tenant}?", yes=yes):
        _set(face, tenant, url, suspended=True)
    else:
        face.note("Nothing was changed.")


@verb(
    "resume",
    examples=[
        ("satchel tenant resume acme", "Let a suspended tenant in again."),
        ("satchel tenant resume acme --json", "The same for a program."),
    ],
    gives="The tenant as REST gives it.",
    statuses=_STATUSES,
)
@click.argument("tenant")
@click.option("--url", help="The server.")
def resume(face: Face, tenant: str, url: str | None) -> None:
    """Resume a suspended tenant (operator)."""
    _set(face, tenant, url, suspended=False)


def _set(face: Face, tenant: str, url: str | None, *, suspended: bool) -> None:
    remote = open_remote(face, url)
    found = _id_of(remote, tenant)
    answer = remote.call("PATCH", f"/admin/tenants/{found}", json={"suspended": suspended})
    face.answer(answer, lambda: face.note(f"Tenant {tenant} is {'suspended' if suspended else 'active'}."))


def _id_of(remote: Remote, tenant: str) -> str:
    """The id of a tenant named by slug or id."""
    if tenant.startswith("ten_"):
        return tenant
    return next((row["id"] for row in remote.rows("/admin/tenants") if row["slug"] == tenant), tenant)


for word in (show, usage, retention, create, list_, suspend, resume):
    command.add_command(word)
