"""``satchel key``: API keys for agents and machines, each limited to what it needs."""

from __future__ import annotations

import re
from typing import Any

import click

from satchel.cli.face import Face, ago
from satchel.cli.hosted import open_remote, replay_key
from satchel.cli.verb import VerbGroup, verb
from satchel.errors import InvalidInput

_ROLES = ("read", "write", "admin")
_UNITS = {"h": 3_600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}

command = VerbGroup("key", help="Create, list and revoke API keys.", short_help="Create, list and revoke API keys.")


@verb(
    "create",
    examples=[
        ("satchel key create release-bot --project acme:read", "A key that may read acme, for an agent."),
        ("satchel key create ci --role write --expires 90d", "May write every project, for 90 days."),
    ],
    gives=(
        "The key as REST gives it: `id`, `name`, `tenantRole`, `role`, `projects`, `createdAt`, `expiresAt`, "
        "`revoked`, and `key`, this once."
    ),
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("name")
@click.option("--project", "projects", multiple=True, metavar="PROJECT:ROLE", help="A grant; may be repeated.")
@click.option("--role", type=click.Choice(_ROLES), help="The role in every project, now and later.")
@click.option("--tenant-role", type=click.Choice(["member", "admin"]), help="May it run the tenant (member: no).")
@click.option("--expires", metavar="TIME", help="Such as 12h, 90d, 1y; never by default.")
@click.option("--url", help="The server.")
def create(
    face: Face,
    name: str,
    projects: tuple[str, ...],
    role: str | None,
    tenant_role: str | None,
    expires: str | None,
    url: str | None,
) -> None:
    """Create an API key.

    The key is printed once, on stdout; only a keyed hash of it is kept. Give each agent a key of its own, limited to
    the projects it needs.
    """
    asked: dict[str, Any] = {"name": name}
    if projects:
        asked["projects"] = [_grant(text) for text in projects]
    if role:
        asked["role"] = role
    if tenant_role:
        asked["tenantRole"] = tenant_role
    if expires:
        asked["expiresIn"] = _seconds(expires)
    made = open_remote(face, url).call("POST", "/keys", json=asked, headers=replay_key())

    def show() -> None:
        face.note(f"Key {made['id']} for {name}. It is shown this once:")
        face.line(made["key"])

    face.answer(made, show)


@verb(
    "list",
    examples=[
        ("satchel key list", "Every key of the tenant."),
        ("satchel key list --json", "The same for a program."),
    ],
    gives="`items`, keys as REST gives them.",
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.option("--url", help="The server.")
def list_(face: Face, url: str | None) -> None:
    """List the API keys of the tenant.

    The keys themselves are not known to anybody but their holders.
    """
    remote = open_remote(face, url)
    keys = remote.rows("/keys")

    def show() -> None:
        slugs = {row["id"]: row["slug"] for row in remote.rows("/projects")}
        for key in keys:
            grants = [f"{slugs.get(grant['project'], grant['project'])}:{grant['role']}" for grant in key["projects"]]
            if key["role"]:
                grants.insert(0, f"{key['role']} everywhere")
            if key["tenantRole"] != "member":
                grants.insert(0, f"{key['tenantRole']} of the tenant")
            state = "revoked" if key["revoked"] else f"made {ago(key['createdAt'])}"
            face.line(f"{key['id']}  {key['name']}  {', '.join(grants) or 'no project'}  {face.dim(state)}")

    face.answer({"items": keys}, show)


@verb(
    "revoke",
    examples=[
        ("satchel key revoke key_01h8...", "The key stops counting at once."),
        ("satchel key revoke key_01h8... --yes", "The same without being asked."),
    ],
    gives="`id`, `revoked`.",
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("key_id", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--url", help="The server.")
def revoke(face: Face, key_id: str, yes: bool, url: str | None) -> None:
    """Revoke an API key.

    Requests with it are refused from now on, running ones included. It cannot be taken back.
    """
    if not face.confirm(f"Revoke {key_id}?", yes=yes):
        face.note("Nothing was revoked.")
        return
    open_remote(face, url).call("DELETE", f"/keys/{key_id}")
    face.answer({"id": key_id, "revoked": True}, lambda: face.note(f"Revoked {key_id}."))


def _grant(text: str) -> dict[str, str]:
    project, _, role = text.rpartition(":")
    if not project or role not in _ROLES:
        raise InvalidInput(f"{text!r} is not a grant", hint=f"Say PROJECT:ROLE with a role of {', '.join(_ROLES)}.")
    return {"project": project, "role": role}


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6})([hdwy])", text)
    if not found:
        raise InvalidInput(f"{text!r} is not a length of time", hint="Say a number and h, d, w or y, such as 90d.")
    return int(found[1]) * _UNITS[found[2]]


for word in (create, list_, revoke):
    command.add_command(word)
