"""``satchel mcp``: answers an agent over stdio. Stdout belongs to the protocol, all else goes to stderr."""

from __future__ import annotations

import sys
from contextlib import closing

import click

import satchel.mcp.stdio as stdio
from satchel.cli.face import Face
from satchel.cli.folders import project_here, project_named, projects_everywhere
from satchel.cli.verb import verb
from satchel.context.local import LocalReader


@verb(
    "mcp",
    examples=[
        ("satchel mcp", "Serve the project of this folder; agents run this, see `satchel connect`."),
        ("satchel mcp --all", "Serve every project of this machine."),
    ],
    gives="None of its own: stdout is the protocol.",
)
@click.option("-p", "--project", multiple=True, help="Serve this project; may be repeated.")
@click.option("-a", "--all", "everywhere", is_flag=True, help="Serve every project of this machine.")
def command(face: Face, project: tuple[str, ...], everywhere: bool) -> None:
    """Answer an agent over stdio.

    Speaks MCP on stdin and stdout until stdin ends. Files are read again when they change, so the agent always asks the
    folder as it is. Nothing is sent anywhere: no socket is opened.

    Outside of any project the one chosen with `satchel use` is served, or simply the folder.
    """
    if project:
        found = [project_named(face, name) for name in project]
    else:
        found = projects_everywhere(face) if everywhere else [project_here(face)]
    with closing(LocalReader(found)) as reader:
        stdio.serve(reader, sys.stdin.buffer, sys.stdout.buffer)
