"""``satchel mcp``: answers an agent over stdio. Stdout belongs to the protocol, all else goes to stderr."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

import satchel.mcp.stdio as stdio
from satchel.cli.face import Face
from satchel.cli.folders import undo_bounds
from satchel.cli.reading import Reading, open_reading, projects_asked
from satchel.cli.verb import verb
from satchel.errors import InvalidInput

if TYPE_CHECKING:
    from satchel.context.writing import Written
    from satchel.mcp.tool import Writer


@verb(
    "mcp",
    examples=[
        ("satchel mcp", "Serve the project of this folder; agents run this, see `satchel connect`."),
        ("satchel mcp --all", "Serve every project of this machine."),
        ("satchel mcp --write", "Let the agent write artifacts and notes too."),
        ("satchel mcp --remote", "Serve what you may read on the server you signed in to."),
        ("satchel mcp --remote https://context.example.org/mcp", "Be the bridge to that MCP server, by its own login."),
    ],
    gives="None of its own: stdout is the protocol.",
)
@click.option("-p", "--project", multiple=True, help="Serve this project; may be repeated.")
@click.option("-a", "--all", "everywhere", is_flag=True, help="Serve every project of this machine.")
@click.option("--remote", is_flag=True, help="Serve hosted projects instead, from the server you signed in to.")
@click.option("-w", "--write", is_flag=True, help="Offer the tools that write, too.")
@click.argument("url", required=False)
@click.option("--client-id", metavar="ID", help="With URL: what this program is known by there, or its document's URL.")
@click.option("--client-secret-file", metavar="FILE", type=click.Path(), help="With --client-id: holds its secret.")
def command(
    face: Face,
    project: tuple[str, ...],
    everywhere: bool,
    remote: bool,
    write: bool,
    url: str | None,
    client_id: str | None,
    client_secret_file: str | None,
) -> None:
    """Answer an agent over stdio.

    Speaks MCP on stdin and stdout until stdin ends. Files are read again when they change, so the agent always asks the
    folder as it is. Nothing is sent anywhere: no socket is opened.

    Outside of any project the one chosen with `satchel use` is served, or simply the folder.

    Agents read; with --write they are also offered artifacts_put and note_append. What those replace in a folder comes
    back with `satchel undo`; ignored files, links and files that tools run on their own are never written. With
    --remote each is one version under your name, where your role allows it.

    With --remote the same tools answer from the server: for agents that speak stdio and cannot log in themselves. The
    credential is that of `satchel login`; everything you may read there can be asked.

    With --remote and a URL, messages go to that MCP server and back, a Satchel or any other. When it asks for a login,
    your browser is opened; what you allowed is kept as by `satchel login`, and forgotten by `satchel logout --url URL`.
    """
    if (url is None and (client_id or client_secret_file)) or (url is not None and not remote):
        raise InvalidInput("URL goes with --remote, and the options of a client with both")
    if remote and project:
        raise InvalidInput("--remote serves every project that you may read there: leave --project out")
    if url is not None and write:
        raise InvalidInput("--write is for what Satchel serves: a bridge passes on whatever that server offers")
    if url is not None:
        # By name: what speaks to a network is loaded only where a person asked for the network.
        bridge = importlib.import_module("satchel.cli.bridge")
        secret = Path(face.cwd / client_secret_file) if client_secret_file else None
        bridge.serve(face, url, client_id, secret, sys.stdin.buffer, sys.stdout.buffer)
        return
    with open_reading(face, project, everywhere=everywhere or remote, remote=remote) as reading:
        writer = _writer(face, reading, project, everywhere=everywhere, remote=remote) if write else None
        stdio.serve(reading.reader, sys.stdin.buffer, sys.stdout.buffer, writer)


def _writer(face: Face, reading: Reading, project: tuple[str, ...], *, everywhere: bool, remote: bool) -> Writer:
    """By name: what writes is loaded only where a person asked for it, and what speaks to a network likewise."""
    if remote:
        sending = importlib.import_module("satchel.remote.writing")
        return lambda change: cast("Written", sending.write(reading.reader, change))
    writing = importlib.import_module("satchel.cli.writing")
    found = projects_asked(face, project, everywhere=everywhere)
    return cast("Writer", writing.FolderWriter(found, undo_bounds(face)))
