"""``satchel login``: an API key, or e-mail and password, checked with the server and kept for it alone."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from satchel.cli.credentials import Credential
from satchel.cli.face import Face
from satchel.cli.hosted import credentials
from satchel.cli.verb import verb
from satchel.cli.whoami_cmd import show_who
from satchel.errors import InvalidInput
from satchel.remote import FixedToken, Remote, checked_url

MAX_KEY_CHARACTERS = 4_096


@verb(
    "login",
    examples=[
        ("satchel login https://context.example.org", "Asks for an API key, without showing it."),
        ("satchel login https://context.example.org --email sam@example.org", "Signs a person in by password."),
        ("satchel login http://127.0.0.1:8470 --key-file ./key", "Takes the key from a file; `-` is stdin."),
    ],
    gives="`url`, and what `whoami` gives.",
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("url")
@click.option("--key-file", "--key", "key_file", metavar="FILE", help="File holding the API key; - is stdin.")
@click.option("--email", help="Sign in as this person; the password is asked for (or read from stdin).")
@click.option("--tenant", help="The tenant to act in, for a person who is a member of several.")
@click.option("--insecure", is_flag=True, help="Accept http:// to another machine: the credential goes in clear.")
def command(face: Face, url: str, key_file: str | None, email: str | None, tenant: str | None, insecure: bool) -> None:
    """Sign in to a server.

    The credential is checked with the server, then kept in credentials.json of your configuration folder (mode 0600)
    and sent to that server alone. It is never taken from the command line, where others could see it.
    """
    address = checked_url(url, insecure=insecure)
    if email is None:
        credential = Credential(key=_key(face, key_file), insecure=insecure)
    else:
        asked = {"email": email, "password": _secret(face, "Password"), **({"tenant": tenant} if tenant else {})}
        tokens = Remote(address, FixedToken(None), insecure=insecure).call("POST", "/auth/token", json=asked)
        credential = Credential(access=tokens["accessToken"], refresh=tokens.get("refreshToken"), insecure=insecure)
    remote = Remote(address, FixedToken(credential.key or credential.access), insecure=insecure)
    who = remote.call("GET", "/auth/whoami")
    credentials(face).put(address, credential)

    def show() -> None:
        face.note(f"Signed in to {address}.")
        show_who(face, who)
        face.note("Next, in a project:  satchel remote add " + address)

    face.answer({"url": address, **who}, show)


def _key(face: Face, file: str | None) -> str:
    if file is None:
        return _secret(face, "API key")
    if file == "-":
        text = sys.stdin.read(MAX_KEY_CHARACTERS)
    else:
        try:
            with Path(face.cwd / file).open(encoding="utf-8", errors="replace") as stream:
                text = stream.read(MAX_KEY_CHARACTERS)
        except OSError as error:
            raise InvalidInput(
                f"{file} cannot be read: {error.strerror}", hint="Name a file that holds the API key, or - for stdin."
            ) from error
    key = text.strip()
    if not key or len(key.split()) != 1:
        raise InvalidInput(f"{'stdin' if file == '-' else file} does not hold one API key")
    return key


def _secret(face: Face, what: str) -> str:
    """Ask without showing what is typed; a program gives it on stdin."""
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, err=True)).strip()
    text = sys.stdin.readline(MAX_KEY_CHARACTERS).rstrip("\r\n")
    if not text:
        raise InvalidInput(f"no {what.lower()} was given", hint="Type it when asked, or write it to stdin.")
    return text
