"""``satchel share``: a link that lets people join this project, and the roles that members and keys have on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from satchel.cli.face import Face, ago
from satchel.cli.hosted import open_remote, project_remote, replay_key
from satchel.cli.key_cmd import seconds
from satchel.cli.verb import verb
from satchel.errors import InvalidInput, NoSuchThing
from satchel.remote import part

if TYPE_CHECKING:
    from satchel.remote import Remote


@verb(
    "share",
    examples=[
        ("satchel share", "A link for one person who may read this project, good for 7 days."),
        ("satchel share --role write --uses 5 --expires 24h", "For five people who may write, for a day."),
        ("satchel share --with sam@example.org --role write", "A member of the tenant may write it, without a link."),
        ("satchel share --end sam@example.org", "Take that back."),
        ("satchel share --list", "The links of this project, and who has a role on it."),
        ("satchel share --revoke inv_01h8...", "Nobody joins by that link any more; who joined stays."),
    ],
    gives=(
        "The invitation as REST gives it (`id`, `project`, `role`, `tenantRole`, `createdBy`, `createdAt`, "
        "`expiresAt`, `uses`, `usesLimit`, `state`) and `url`, this once; with --list `items` and `grants` (each "
        "`principal`, `name`, `role`); with --revoke `id`, `revoked`; with --with `principal`, `role`; with --end "
        "`principal`, `ended`."
    ),
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.option("--role", type=click.Choice(["read", "write", "admin"]), default="read", help="What they may (read).")
@click.option("--expires", metavar="TIME", default="7d", help="Such as 12h or 30d; 7d by default, at most 90d.")
@click.option("--uses", type=click.IntRange(1, 1_000), default=1, help="How many people may join by it (1).")
@click.option("--project", metavar="PROJECT", help="Another hosted project, by slug or id.")
@click.option("--with", "member", metavar="MEMBER", help="Give a member or key (id or e-mail) the role, with no link.")
@click.option("--end", metavar="MEMBER", help="Take back the role of a member or key.")
@click.option("--list", "listing", is_flag=True, help="List the invitations to the project, and who has a role on it.")
@click.option("--revoke", metavar="ID", help="End an invitation.")
@click.option("--url", help="The server, with --project.")
def command(
    face: Face,
    role: str,
    expires: str,
    uses: int,
    project: str | None,
    member: str | None,
    end: str | None,
    listing: bool,
    revoke: str | None,
    url: str | None,
) -> None:
    """Invite people to this project by a link.

    The link is printed once, on stdout; the server keeps only a keyed hash of it. Whoever has it can join until it
    expires or is used up, so send it as you would send a password. With it they run `satchel join URL`, or open it in
    a browser. They become members of the tenant with this role on this project, and with nothing else.

    Who is a member already, or a key, is given a role by --with, in place of the one it has, and loses it by --end.
    """
    if sum((listing, revoke is not None, member is not None, end is not None)) > 1:
        raise InvalidInput("--with, --end, --list and --revoke exclude each other")
    if project is None:
        _, remote, project = project_remote(face)
    else:
        remote = open_remote(face, url)
    place, grants = f"/projects/{part(project)}/invitations", f"/projects/{part(project)}/grants"
    if listing:
        rows, given = remote.rows(place), remote.rows(grants)
        face.answer({"items": rows, "grants": given}, lambda: _show_all(face, rows, given))
    elif member is not None:
        who = principal_named(remote, member)
        remote.call("POST", grants, json={"principal": who, "role": role})
        face.answer({"principal": who, "role": role}, lambda: face.note(f"{member} may {role} the project."))
    elif end is not None:
        who = principal_named(remote, end)
        remote.call("DELETE", f"{grants}/{part(who)}")
        face.answer(
            {"principal": who, "ended": True}, lambda: face.note(f"{end} has no role of its own on it any more.")
        )
    elif revoke is not None:
        remote.call("DELETE", f"{place}/{part(revoke)}")
        face.answer({"id": revoke, "revoked": True}, lambda: face.note(f"Revoked {revoke}. Who joined by it stays."))
    else:
        asked = {"role": role, "expiresIn": seconds(expires), "uses": uses}
        made = remote.call("POST", place, json=asked, headers=replay_key())
        face.answer(made, lambda: show_made(face, made))


def principal_named(remote: Remote, named: str) -> str:
    """The id of a member or key; of a member the e-mail address will do, for who may list members."""
    if "@" not in named:
        return named
    for row in remote.rows("/members"):
        if row["email"] == named.casefold():  # as the server keeps it
            return str(row["id"])
    raise NoSuchThing(f"no member has the address {named}", hint="List them:  satchel tenant members")


def _show_all(face: Face, rows: list[dict[str, Any]], given: list[dict[str, Any]]) -> None:
    for grant in given:
        face.line(f"{grant['principal']}  {grant['name']}  may {grant['role']}")
    show_invitations(face, rows)


def show_made(face: Face, made: dict[str, Any]) -> None:
    """Print an invitation that was just made."""
    what = f"may {made['role']} the project" if made["role"] else f"{made['tenantRole']} of the tenant"
    people = "one person" if made["usesLimit"] == 1 else f"{made['usesLimit']:,} people"
    face.note(f"Invitation {made['id']} for {people} ({what}), until {made['expiresAt']}. It is shown this once:")
    face.line(made["url"])
    face.note("They run:  satchel join URL      or open it in a browser")


def show_invitations(face: Face, rows: list[dict[str, Any]]) -> None:
    """Print a list of invitations."""
    for row in rows:
        what = row["role"] or f"{row['tenantRole']} of the tenant"
        used = f"{row['uses']} of {row['usesLimit']} used"
        state = row["state"] if row["state"] != "open" else f"until {row['expiresAt']}"
        face.line(f"{row['id']}  {what}  {used}  {state}  {face.dim('made ' + ago(row['createdAt']))}")
    if not rows:
        face.note("No invitations.")
