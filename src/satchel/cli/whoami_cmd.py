"""``satchel whoami``: who the server takes you for, and what you may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from satchel.cli.face import Face
from satchel.cli.hosted import open_remote
from satchel.cli.verb import verb

if TYPE_CHECKING:
    from satchel.remote import Remote


@verb(
    "whoami",
    examples=[
        ("satchel whoami", "Who you are to the server of this project."),
        ("satchel whoami --url https://context.example.org --json", "The same of another server, for a program."),
    ],
    gives="`url`, `principal`, `tenant`, `role`, `operator`, `allProjects`, `scope`, `grants`.",
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.option("--url", help="The server; that of this project, or the only one signed in to, by default.")
def command(face: Face, url: str | None) -> None:
    """Say who you are to the server.

    Shows the tenant, your role in it and the projects you were granted.
    """
    remote = open_remote(face, url)
    who = remote.call("GET", "/auth/whoami")

    def show() -> None:
        face.line(remote.url)
        show_who(face, who, remote)

    face.answer({"url": remote.url, **who}, show)


def show_who(face: Face, who: Mapping[str, Any], remote: Remote) -> None:
    """Print the server's answer to who somebody is, projects by their names."""
    principal, tenant = who["principal"], who["tenant"]
    face.line(f"  {face.fit(principal['name'])} ({principal['kind']}, {principal['id']})")
    operator = ", operator of the server" if who["operator"] else ""
    face.line(f"  tenant {tenant['slug']}, {who['role']}{operator}")
    if who.get("allProjects"):
        face.line(f"  {who['allProjects']} in every project")
    slugs = {row["id"]: row["slug"] for row in remote.rows("/projects")} if who["grants"] else {}
    for grant in who["grants"]:
        face.line(f"  {grant['role']} in {slugs.get(grant['project'], grant['project'])}")
