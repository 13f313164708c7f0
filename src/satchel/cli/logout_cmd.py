"""``satchel logout``: the credential is forgotten here, and a person's session ended on the server.

So is what the bridge of ``satchel mcp --remote URL`` logged in with at that address.
"""

from __future__ import annotations

import click

from satchel.cli.bridge import forget
from satchel.cli.face import Face
from satchel.cli.hosted import credentials, server_url
from satchel.cli.verb import verb
from satchel.errors import SatchelError
from satchel.remote import FixedToken, Remote


@verb(
    "logout",
    examples=[
        ("satchel logout", "Forget the credential for the server of this project."),
        ("satchel logout --url https://context.example.org", "The same for another server."),
    ],
    gives="`url`, `forgotten`, `revoked`.",
)
@click.option("--url", help="The server; that of this project, or the only one signed in to, by default.")
def command(face: Face, url: str | None) -> None:
    """Forget the credential.

    A person's session is also ended on the server, if it can be reached. An API key stays valid: revoke it with
    `satchel key revoke`. Your files are not touched. With the address of an MCP server, what `satchel mcp --remote URL`
    was allowed there is forgotten and ended.
    """
    address = server_url(face, url)
    stored = credentials(face)
    credential = stored.get(address)
    revoked = False
    if credential is not None and credential.refresh is not None:
        try:
            remote = Remote(address, FixedToken(credential.access), insecure=credential.insecure)
            remote.call("POST", "/auth/revoke", json={"token": credential.refresh})
            revoked = True
        except SatchelError as error:
            face.warn(f"the session could not be ended on the server ({error.message}); it ends by itself")
    known = stored.forget(address)
    if (ended := forget(stored, address)) is not None:
        known, revoked = True, revoked or ended
    face.answer(
        {"url": address, "forgotten": known, "revoked": revoked},
        lambda: face.note(f"Signed out of {address}." if known else f"You were not signed in to {address}."),
    )
