"""``satchel key``: API keys for agents and machines, each limited to what it needs."""

from __future__ import annotations

import re
from typing import Any

import click

from satchel.cli.face import Face, ago
from satchel.cli.hosted import open_remote, replay_key
from satchel.cli.verb import VerbGroup, verb
from satchel.errors import InvalidInput
from satchel.remote import part

_ROLES = ("read", "write", "admin")
MAX_NAME = 200
"""Characters of a name that the server takes."""
_UNITS = {"h": 3_600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}

_SUMMARY = "Create, list, reroll and revoke API keys."
command = VerbGroup("key", help=_SUMMARY, short_help=_SUMMARY)


@verb(
    "create",
    examples=[
        ("satchel key create --project acme --role read --expires 30d --rate 60/min", "For an agent that reads acme."),
        ("satchel key create release-bot --project acme:read --project docs:write", "A role for each project."),
        ("satchel key create ci --role write --expires 90d", "May write every project, for 90 days."),
        ("satchel key create crawler --role read --rate 60/min", "May ask sixty times a minute."),
    ],
    gives=(
        "The key as REST gives it: `id`, `name`, `tenantRole`, `role`, `projects`, `createdAt`, `expiresAt`, "
        "`requestsPerMinute`, `lastUsedAt`, `oldSecretUntil`, `revoked`, and `key`, this once."
    ),
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("name", required=False)
@click.option(
    "--project", "projects", multiple=True, metavar="PROJECT[:ROLE]", help="A project it may use; may be repeated."
)
@click.option("--role", type=click.Choice(_ROLES), help="The role in these projects; in every one if none is named.")
@click.option("--tenant-role", type=click.Choice(["member", "admin"]), help="May it run the tenant (member: no).")
@click.option("--expires", metavar="TIME", help="Such as 12h, 90d, 1y; never by default.")
@click.option("--rate", metavar="N/min", help="Most requests a minute; as many as the server allows by default.")
@click.option("--url", help="The server.")
def create(
    face: Face,
    name: str | None,
    projects: tuple[str, ...],
    role: str | None,
    tenant_role: str | None,
    expires: str | None,
    rate: str | None,
    url: str | None,
) -> None:
    """Create an API key.

    The key is printed once, on stdout; only a keyed hash of it is kept. Give each agent a key of its own, limited to
    the projects it needs. Without NAME it is called after what it may do.
    """
    asked: dict[str, Any] = {"name": name or _called(projects, role or tenant_role)}
    if projects:
        asked["projects"] = [_grant(text, role) for text in projects]
    if role and all(":" in text for text in projects):
        asked["role"] = role
    if tenant_role:
        asked["tenantRole"] = tenant_role
    if expires:
        asked["expiresIn"] = seconds(expires)
    if rate:
        asked["requestsPerMinute"] = _per_minute(rate)
    made = open_remote(face, url).call("POST", "/keys", json=asked, headers=replay_key())

    def show() -> None:
        face.note(f"Key {made['id']} for {made['name']}. It is shown this once:")
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
            state += f", {used(key.get('lastUsedAt'))}"
            if key.get("requestsPerMinute"):
                state += f", {key['requestsPerMinute']:,}/min"
            face.line(f"{key['id']}  {key['name']}  {', '.join(grants) or 'no project'}  {face.dim(state)}")

    face.answer({"items": keys}, show)


def used(hour: str | None) -> str:
    """When a key was last used, which is kept to the hour: the beginning of that hour is no time of use."""
    if hour is None:
        return "not used yet"
    told = ago(hour)
    return "used within the hour" if told == "just now" or "minute" in told else f"used {told}"


@verb(
    "reroll",
    examples=[
        ("satchel key reroll key_01h8...", "A new secret; the old one counts for a day more."),
        ("satchel key reroll key_01h8... --grace 0 --expires 90d", "The old secret ends at once."),
    ],
    gives="The key as `create` gives it, with its new `key`, this once, and `oldSecretUntil`.",
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("key_id", metavar="ID")
@click.option("--grace", metavar="TIME", default="24h", show_default=True, help="How long the old secret still counts.")
@click.option("--expires", metavar="TIME", help="A new end for the key, such as 90d; the one it has by default.")
@click.option("--url", help="The server.")
def reroll(face: Face, key_id: str, grace: str, expires: str | None, url: str | None) -> None:
    """Give an API key a new secret.

    Name, roles and rate stay as they are. The new key is printed once, on stdout. Put it where the old one is used
    before the time of grace is over; it is 30 days at most.
    """
    asked = {"graceSeconds": 0 if grace == "0" else seconds(grace)}
    if expires:
        asked["expiresIn"] = seconds(expires)
    made = open_remote(face, url).call("POST", f"/keys/{part(key_id)}/reroll", json=asked, headers=replay_key())

    def show() -> None:
        until = f" until {made['oldSecretUntil']}" if made["oldSecretUntil"] else " no more"
        face.note(f"Key {made['id']} for {made['name']} has a new secret; the old one counts{until}.")
        face.note("It is shown this once:")
        face.line(made["key"])

    face.answer(made, show)


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
    open_remote(face, url).call("DELETE", f"/keys/{part(key_id)}")
    face.answer({"id": key_id, "revoked": True}, lambda: face.note(f"Revoked {key_id}."))


def _grant(text: str, otherwise: str | None) -> dict[str, str]:
    project, colon, role = text.partition(":")
    role = role if colon else otherwise or ""
    if not project or role not in _ROLES:
        known = ", ".join(_ROLES)
        raise InvalidInput(f"{text!r} is not a grant", hint=f"Say PROJECT with --role, or PROJECT:ROLE ({known}).")
    return {"project": project, "role": role}


def _called(projects: tuple[str, ...], role: str | None) -> str:
    """A name for a key that was given none."""
    return f"{', '.join(projects) or 'every project'} {role or ''}".strip()[:MAX_NAME]


def _per_minute(text: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,6})/(min|s)", text)
    if not found:
        raise InvalidInput(f"{text!r} is not a rate", hint="Say requests a minute or a second, such as 60/min or 5/s.")
    return int(found[1]) * (60 if found[2] == "s" else 1)


def seconds(text: str) -> int:
    """A length of time such as 90d. Raises ``InvalidInput``."""
    found = re.fullmatch(r"(\d{1,6})([hdwy])", text)
    if not found:
        raise InvalidInput(f"{text!r} is not a length of time", hint="Say a number and h, d, w or y, such as 90d.")
    return int(found[1]) * _UNITS[found[2]]


for word in (create, list_, reroll, revoke):
    command.add_command(word)
