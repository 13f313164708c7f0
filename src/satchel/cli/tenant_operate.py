"""The words of ``satchel tenant`` that are an operator's: its tenants from their founding to their end."""

from __future__ import annotations

from typing import Any

import click

from satchel.cli.face import Face
from satchel.cli.hosted import for_operators, open_remote, replay_key, tenant_id, tenants_of
from satchel.cli.verb import verb
from satchel.remote import part

_STATUSES = (0, 1, 2, 4, 5, 6)
_GIVES = "The tenant as REST gives it."


@verb(
    "create",
    examples=[
        ('satchel tenant create acme "Acme Ltd"', "A new tenant; its first admin key is printed once."),
        ("satchel tenant create trial Trial --expires 3600", "One that is gone in an hour."),
        ('satchel tenant create acme "Acme Ltd" --json', "The same for a program."),
    ],
    gives="`tenant`, and `adminKey`, this once.",
    statuses=_STATUSES,
)
@click.argument("slug")
@click.argument("name")
@click.option(
    "--expires",
    type=click.IntRange(1, 30 * 86_400),
    metavar="SECONDS",
    help="Let the server shred it this long from now.",
)
@click.option("--url", help="The server.")
def create(face: Face, slug: str, name: str, expires: int | None, url: str | None) -> None:
    """Create a tenant (operator).

    Prints the tenant's first admin key on stdout, this once. Nothing of one tenant can be seen from another.
    """
    wanted: dict[str, Any] = {"slug": slug, "name": name} | ({} if expires is None else {"expiresSeconds": expires})
    with for_operators():
        made = open_remote(face, url).call("POST", "/admin/tenants", json=wanted, headers=replay_key())

    def print_key() -> None:
        ends = made["tenant"]["deleteAt"]
        face.note(f"Tenant {slug} ({made['tenant']['id']}){f', until {ends}' if ends else ''}.")
        face.note("Its admin key is shown this once:")
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
    """List the tenants of the server (operator).

    One that is shredded stays in the list under its id.
    """
    tenants = tenants_of(open_remote(face, url))

    def print_rows() -> None:
        for row in tenants:
            ends = f"  until {row['deleteAt']}" if row["deleteAt"] and row["state"] != "shredded" else ""
            face.line(f"{row['slug']}  {row['name']}  {row['id']}  {row['state']}{ends}")

    face.answer({"items": tenants}, print_rows)


@verb(
    "suspend",
    examples=[
        ("satchel tenant suspend acme", "Nobody of acme gets in any more; nothing is deleted."),
        ("satchel tenant suspend acme --yes", "The same without being asked."),
    ],
    gives=_GIVES,
    statuses=_STATUSES,
)
@click.argument("tenant")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--url", help="The server.")
def suspend(face: Face, tenant: str, yes: bool, url: str | None) -> None:
    """Suspend a tenant (operator).

    Every credential of it is refused until `satchel tenant resume`. Nothing is deleted. A push under way is refused
    whole, and finished by the client's next sync after that.
    """
    if face.confirm(f"Suspend {tenant}?", yes=yes):
        _set(face, tenant, url, {"suspended": True}, f"Tenant {tenant} is suspended.")
    else:
        face.note("Nothing was changed.")


@verb(
    "resume",
    examples=[
        ("satchel tenant resume acme", "Let a suspended tenant in again."),
        ("satchel tenant resume acme --json", "The same for a program."),
    ],
    gives=_GIVES,
    statuses=_STATUSES,
)
@click.argument("tenant")
@click.option("--url", help="The server.")
def resume(face: Face, tenant: str, url: str | None) -> None:
    """Resume a suspended tenant (operator)."""
    _set(face, tenant, url, {"suspended": False}, f"Tenant {tenant} is active.")


@verb(
    "delete",
    examples=[
        ("satchel tenant delete acme", "Nobody gets in any more; in seven days it is destroyed."),
        ("satchel tenant delete acme --now --yes", "Destroyed at once, without being asked."),
    ],
    gives="`ok`, `state` (`deleting` or `shredded`), `deleteAt`, `backupsLooked`, `keysExpireAt`.",
    statuses=_STATUSES,
)
@click.argument("tenant")
@click.option("--now", is_flag=True, help="Without the time of grace: it cannot be brought back.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--url", help="The server.")
def delete(face: Face, tenant: str, now: bool, yes: bool, url: str | None) -> None:
    """Delete a tenant (operator).

    Its credentials are refused from now on. Until the time of grace ends (SATCHEL_TENANT_GRACE_DAYS, seven days unless
    set) `satchel tenant restore` brings it back as it was; then its keys are destroyed, so that nothing of it can be
    read again, and its rows and objects are removed.
    """
    what = f"Destroy {tenant} now, for ever?" if now else f"Delete {tenant}?"
    if not face.confirm(what, yes=yes):
        face.note("Nothing was changed.")
        return
    remote = open_remote(face, url)
    path = f"/admin/tenants/{part(tenant_id(remote, tenant))}"
    answer = remote.call("DELETE", path, query={"now": "true" if now else None})

    def tell() -> None:
        if answer["state"] == "deleting":
            face.note(f"Tenant {tenant} is destroyed at {answer['deleteAt']}.")
            face.note(f"To bring it back before then:  satchel tenant restore {tenant}")
            return
        face.note(f"Tenant {tenant} is gone: its keys are destroyed, and its objects are being removed.")
        if answer["keysExpireAt"]:
            face.note(f"The last backup that holds its keys lets go of them at {answer['keysExpireAt']}.")
        elif not answer["backupsLooked"]:
            face.note("No store of backups was looked at: backups made elsewhere may hold its keys.")

    face.answer(answer, tell)


@verb(
    "restore",
    examples=[
        ("satchel tenant restore acme", "Bring a tenant back that is being deleted."),
        ("satchel tenant restore acme --json", "The same for a program."),
    ],
    gives=_GIVES,
    statuses=_STATUSES,
)
@click.argument("tenant")
@click.option("--url", help="The server.")
def restore(face: Face, tenant: str, url: str | None) -> None:
    """Bring back a tenant that is being deleted (operator).

    Everything of it is as it was, its keys and members too. Once it is shredded nothing brings it back.
    """
    _set(face, tenant, url, {"suspended": False}, f"Tenant {tenant} is back, as it was.")


@verb(
    "storage",
    examples=[
        ("satchel tenant storage acme s3://acme-eu", "Content of acme may rest in this bucket alone."),
        ("satchel tenant storage acme 's3:?region=eu-west-1' file:///srv/eu", "In one region of S3, or in a folder."),
        ("satchel tenant storage acme --anywhere", "Wherever the server keeps it, as at first."),
    ],
    gives=_GIVES + " `settings.allowedStorage` holds the places.",
    statuses=_STATUSES,
)
@click.argument("tenant")
@click.argument("places", metavar="[PLACE]...", nargs=-1)
@click.option("--anywhere", is_flag=True, help="Any storage will do.")
@click.option("--url", help="The server.")
def storage(face: Face, tenant: str, places: tuple[str, ...], anywhere: bool, url: str | None) -> None:
    """Say where a tenant's content may rest (operator).

    PLACE is the URL of a store or its beginning, such as s3://bucket/prefix, or s3: for any. A server whose storage is
    not among them refuses writes of the tenant's content, and goes on reading what it has: move it, or allow it.
    """
    if bool(places) == anywhere:
        raise click.UsageError("name at least one PLACE, or say --anywhere")
    said = f"Content of {tenant} may rest {'anywhere' if anywhere else 'in ' + ', '.join(places)}."
    _set(face, tenant, url, {"settings": {"allowedStorage": list(places)}}, said)


def _set(face: Face, tenant: str, url: str | None, change: dict[str, Any], said: str) -> None:
    remote = open_remote(face, url)
    answer = remote.call("PATCH", f"/admin/tenants/{part(tenant_id(remote, tenant))}", json=change)
    face.answer(answer, lambda: face.note(said))
