"""The words of ``satchel tenant`` about people: who is a member, invitations, roles, passwords, leaving."""

from __future__ import annotations

from contextlib import suppress

import click

from satchel.cli.face import Face, ago, plural
from satchel.cli.hosted import open_remote, replay_key
from satchel.cli.key_cmd import seconds
from satchel.cli.login_cmd import secret
from satchel.cli.share_cmd import principal_named, show_invitations, show_made
from satchel.cli.verb import verb
from satchel.errors import SignInNeeded
from satchel.remote import part

_STATUSES = (0, 1, 2, 3, 4, 5, 6)
_ROLES = click.Choice(["member", "admin", "owner"])


@verb(
    "members",
    examples=[
        ("satchel tenant members", "Who is a member, and as what."),
        ("satchel tenant members --json", "The same for a program."),
    ],
    gives="`items`, members as REST gives them: `id`, `email`, `name`, `tenantRole`, `createdAt`.",
    statuses=_STATUSES,
)
@click.option("--url", help="The server.")
def members(face: Face, url: str | None) -> None:
    """List the members of the tenant."""
    rows = open_remote(face, url).rows("/members")

    def show() -> None:
        for row in rows:
            since = face.dim(f"since {ago(row['createdAt'])}")
            face.line(f"{row['id']}  {row['email']}  {row['name']}  {row['tenantRole']}  {since}")

    face.answer({"items": rows}, show)


@verb(
    "invite",
    examples=[
        ("satchel tenant invite", "A link for one new member, good for 7 days."),
        ("satchel tenant invite --role admin --expires 12h", "For one more admin, for half a day."),
        ("satchel tenant invite --list", "Every link of the tenant, to projects too."),
        ("satchel tenant invite --revoke inv_01h8...", "Nobody joins by that link any more."),
    ],
    gives="As `satchel share`.",
    statuses=_STATUSES,
)
@click.option("--role", type=_ROLES, default="member", help="What they are in the tenant (member).")
@click.option("--expires", metavar="TIME", default="7d", help="Such as 12h or 30d; 7d by default, at most 90d.")
@click.option("--uses", type=click.IntRange(1, 1_000), default=1, help="How many people may join by it (1).")
@click.option("--list", "listing", is_flag=True, help="List the invitations of the tenant.")
@click.option("--revoke", metavar="ID", help="End an invitation.")
@click.option("--url", help="The server.")
def invite(face: Face, role: str, expires: str, uses: int, listing: bool, revoke: str | None, url: str | None) -> None:
    """Invite people to the tenant by a link.

    A member sees no project until a role on one is given (`satchel share` does both at once); an admin or owner sees
    all of them. The link is printed once.
    """
    remote = open_remote(face, url)
    if listing:
        rows = remote.rows("/invitations")
        face.answer({"items": rows}, lambda: show_invitations(face, rows))
    elif revoke is not None:
        remote.call("DELETE", f"/invitations/{part(revoke)}")
        face.answer({"id": revoke, "revoked": True}, lambda: face.note(f"Revoked {revoke}. Who joined by it stays."))
    else:
        asked = {"tenantRole": role, "expiresIn": seconds(expires), "uses": uses}
        made = remote.call("POST", "/invitations", json=asked, headers=replay_key())
        face.answer(made, lambda: show_made(face, made))


@verb(
    "role",
    examples=[
        ("satchel tenant role mem_01h8... admin", "Make a member an admin of the tenant."),
        ("satchel tenant role mem_01h8... member", "And take it back."),
    ],
    gives="The member as REST gives it.",
    statuses=_STATUSES,
)
@click.argument("member")
@click.argument("role", type=_ROLES)
@click.option("--url", help="The server.")
def role_(face: Face, member: str, role: str, url: str | None) -> None:
    """Change what a member (id or e-mail) is in the tenant.

    Nobody gives a role above their own, and the last owner stays one.
    """
    remote = open_remote(face, url)
    place = f"/members/{part(principal_named(remote, member))}"
    changed = remote.call("PATCH", place, json={"tenantRole": role})
    face.answer(changed, lambda: face.note(f"{changed['email']} is {changed['tenantRole']} of the tenant."))


@verb(
    "remove",
    examples=[
        ("satchel tenant remove sam@example.org", "End a membership, with its grants and sessions."),
        ("satchel tenant remove mem_01h8... --yes", "The same by its id, without being asked."),
    ],
    gives="`id`, `removed`, `openInvitations`: how many links let in whoever has them.",
    statuses=_STATUSES,
)
@click.argument("member")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--url", help="The server.")
def remove(face: Face, member: str, yes: bool, url: str | None) -> None:
    """End the membership of somebody (id or e-mail).

    Their sessions end at once; what they wrote stays, under their name. Invitations that are open let them in again, if
    they have the link.
    """
    if not face.confirm(f"End the membership {member}?", yes=yes):
        face.note("Nothing was changed.")
        return
    remote = open_remote(face, url)
    who = principal_named(remote, member)
    remote.call("DELETE", f"/members/{part(who)}")
    links = 0
    with suppress(SignInNeeded):  # who removed itself
        links = sum(row["state"] == "open" for row in remote.rows("/invitations"))

    def show() -> None:
        face.note(f"Removed {member}.")
        if links:
            face.note(f"Whoever has the link joins by {plural(links, 'open invitation')}, somebody removed too:")
            face.note("  satchel tenant invite --list      and  satchel tenant invite --revoke ID")

    face.answer({"id": who, "removed": True, "openInvitations": links}, show)


@verb(
    "leave",
    examples=[
        ("satchel tenant leave", "Leave the tenant you act in; asks first."),
        ("satchel tenant leave --yes", "The same without being asked."),
    ],
    gives="`left`.",
    statuses=_STATUSES,
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--url", help="The server.")
def leave(face: Face, yes: bool, url: str | None) -> None:
    """Leave the tenant yourself.

    Folders on your disk stay as they are. The last owner cannot leave: make somebody else an owner first.
    """
    if not face.confirm("Leave the tenant? You need an invitation to come back", yes=yes):
        face.note("Nothing was changed.")
        return
    open_remote(face, url).call("POST", "/auth/leave", json={})
    face.answer({"left": True}, lambda: face.note("You are no member any more."))


@verb(
    "password",
    examples=[
        ("satchel tenant password", "Change your own password; asks for the old and the new one."),
        ("satchel tenant password mem_01h8...", "Set another for a member who forgot theirs (admins)."),
    ],
    gives="`changed`.",
    statuses=_STATUSES,
)
@click.argument("member", required=False)
@click.option("--url", help="The server.")
def password(face: Face, member: str | None, url: str | None) -> None:
    """Change a password; every other session of the person ends.

    An admin sets that of a member (id or e-mail) who is in this tenant alone. Passwords are asked for, or read from
    stdin, one a line.
    """
    remote = open_remote(face, url)
    if member is None:
        asked = {"password": secret(face, "Present password"), "newPassword": secret(face, "New password")}
        remote.call("POST", "/auth/password", json=asked)
    else:
        place = f"/members/{part(principal_named(remote, member))}/password"
        remote.call("POST", place, json={"password": secret(face, "New password")})
    face.answer({"changed": True}, lambda: face.note("The password was changed. Other sessions of the person ended."))
