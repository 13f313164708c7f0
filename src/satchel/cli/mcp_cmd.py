"""``satchel mcp``: answers an agent over stdio. Stdout belongs to the protocol, all else goes to stderr."""

from __future__ import annotations

import sys

import click

from satchel.cli.face import Face
from satchel.cli.folders import local_project, project_named, project_root, projects_everywhere
from satchel.cli.verb import verb
from satchel.context.local import LocalReader
from satchel.errors import NotAProject
from satchel.mcp import stdio


@verb(
    "mcp",
    examples=[
        ("satchel mcp", "Serve the project of this folder; agents run this, see `satchel connect`."),
        ("satchel mcp --all", "Serve every project of this machine."),
    ],
)
@click.option("-p", "--project", multiple=True, help="Serve this project; may be repeated.")
@click.option("-a", "--all", "everywhere", is_flag=True, help="Serve every project of this machine.")
def command(face: Face, project: tuple[str, ...], everywhere: bool) -> None:
    """Answer an agent over stdio.

    Speaks MCP on stdin and stdout until stdin ends. Files are read again when they change, so the agent always asks the
    folder as it is. Nothing is sent anywhere: no socket is opened.

    Outside of any project, every project of this machine is served.
    """
    if project:
        found = [project_named(face, name) for name in project]
    elif everywhere:
        found = projects_everywhere(face)
    else:
        try:
            found = [local_project(project_root(face))]
        except NotAProject:
            found = projects_everywhere(face)
    stdio.serve(LocalReader(found), sys.stdin.buffer, sys.stdout.buffer)
