"""``satchel admin recover``: the way back into a tenant whose owners are gone, or have lost what they sign in with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from satchel.cli.estate import data_option, note_operator, server_part, settings_for, with_estate
from satchel.cli.face import Face
from satchel.cli.login_cmd import secret
from satchel.cli.verb import verb

if TYPE_CHECKING:
    from satchel.upkeep.estate import Estate

BY = "recovered by the operator"


@verb(
    "recover",
    examples=[
        ("satchel admin recover acme", "A key that owns acme for a day: invite an owner with it."),
        ("satchel admin recover acme --email sam@example.org", "Make that person an owner, with a new password."),
    ],
    gives="`tenant`, `slug`, and `key`, `keyId`, `expiresAt`; with --email `email`, `member`.",
    statuses=(0, 1, 2, 5, 6),
)
@click.argument("tenant")
@click.option("--email", help="Make this person an owner instead; the new password is asked for, or read from stdin.")
@data_option
def command(face: Face, tenant: str, email: str | None, data: str | None) -> None:
    """Let somebody own a tenant again.

    For a tenant whose last owner is gone, or an owner who cannot sign in. It works beside the running server, needs the
    root key, and takes nothing away from anybody. It is written into the tenant's audit and into the operator's.

    Without --email it prints an API key that owns the tenant for 24 hours. With --email the person is made if there is
    none of that address, gets the new password, and every session of that person ends.
    """
    owners, settings = server_part("satchel.upkeep.owners"), settings_for(data)
    stored = "" if email is None else _stored(face, email)

    async def work(estate: Estate) -> dict[str, Any]:
        row = await estate.tenant(tenant)
        found: dict[str, Any] = {"tenant": row.id, "slug": row.slug}
        if email is None:
            made = await owners.owner_key(estate, row, BY)
            found |= {"key": made.text, "keyId": made.id, "expiresAt": _moment(made.expires)}
        else:
            member = await owners.owner_person(estate, row, email, stored, BY)
            found |= {"email": email, "member": member}
        await note_operator(estate, "tenant.recover", f"{row.id} {found.get('keyId') or found['member']}")
        return found

    found = with_estate(settings, work)
    face.answer(found, lambda: _show(face, found))


def _stored(face: Face, email: str) -> str:
    normal = server_part("satchel.auth.emails").normal_email(email)
    fit = server_part("satchel.server.passwords").fit_password(secret(face, "New password"), normal)
    return str(server_part("satchel.auth.passwords").hash_password(fit))


def _show(face: Face, found: dict[str, Any]) -> None:
    if "key" not in found:
        face.note(f"{found['email']} owns {found['slug']}, with the new password. Their other sessions ended.")
        return
    face.note(f"A key that owns {found['slug']} until {found['expiresAt']}. It is shown this once:")
    face.line(found["key"])
    face.note("Sign in with it (satchel login URL), then:  satchel tenant invite --role owner")


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
