"""``satchel login``: by browser, by API key, or by e-mail and password; checked with the server, kept for it alone."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import click

from satchel.cli.browser import by_browser
from satchel.cli.credentials import Credential
from satchel.cli.face import Face
from satchel.cli.hosted import credentials
from satchel.cli.verb import verb
from satchel.cli.whoami_cmd import show_who
from satchel.errors import InvalidInput
from satchel.remote import FixedToken, Remote, checked_url
from satchel.remote.oauth import Login, Tokens
from satchel.remote.values import text

MAX_KEY_CHARACTERS = 4_096


@verb(
    "login",
    examples=[
        ("satchel login https://context.example.org", "Opens your browser to sign in and allow it."),
        ("satchel login https://context.example.org --no-browser", "Shows a code to type in a browser elsewhere."),
        ("satchel login http://127.0.0.1:8470 --key-file ./key", "Takes an API key from a file; `-` asks for it."),
        ("satchel login https://context.example.org --email sam@example.org", "Signs a person in by password."),
    ],
    gives="`url`, and what `whoami` gives.",
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("url")
@click.option("--no-browser", is_flag=True, help="Show a code to be typed on another machine.")
@click.option(
    "--key-file", "--key", "key_file", metavar="FILE", help="File holding an API key; - asks, or reads stdin."
)
@click.option("--email", help="Sign in as this person; the password is asked for (or read from stdin).")
@click.option("--tenant", help="With --email: the tenant to act in, for a member of several.")
@click.option("--insecure", is_flag=True, help="Accept http:// to another machine: the credential goes in clear.")
def command(
    face: Face,
    url: str,
    no_browser: bool,
    key_file: str | None,
    email: str | None,
    tenant: str | None,
    insecure: bool,
) -> None:
    """Sign in to a server.

    A person signs in with the browser, which also chooses the tenant; a service uses an API key. The credential is
    checked with the server, kept in your system's keyring (with the package `keyring`) or else in credentials.json of
    your configuration folder (mode 0600), and sent to that server alone. It is never taken from the command line, where
    others could see it.
    """
    for word in (url, key_file, email, tenant):
        _refuse_secret(word)
    if sum((no_browser, key_file is not None, email is not None)) > 1:
        raise InvalidInput("--no-browser, --key-file and --email are three ways to sign in: choose one")
    address = checked_url(url, insecure=insecure)
    if key_file is not None:
        credential = Credential(key=_key(face, key_file), insecure=insecure)
    elif email is not None:
        asked = {"email": email, "password": secret(face, "Password"), **({"tenant": tenant} if tenant else {})}
        tokens = Remote(address, FixedToken(None), insecure=insecure).call("POST", "/auth/token", json=asked)
        access, refresh = text(tokens["accessToken"]), text(tokens["refreshToken"])
        credential = Credential(access=access, refresh=refresh, insecure=insecure)
    else:
        found = _in_browser(face, address, no_browser, insecure)
        credential = Credential(access=found.access, refresh=found.refresh, insecure=insecure)
    remote = Remote(address, FixedToken(credential.key or credential.access), insecure=insecure)
    who = remote.call("GET", "/auth/whoami")
    kept = credentials(face).put(address, credential)

    def show() -> None:
        face.note(f"Signed in to {address}; the credential is kept in {kept}.")
        show_who(face, who, remote)
        face.note("Next, in a project:  satchel remote add " + address)

    face.answer({"url": address, **who}, show)


def _in_browser(face: Face, address: str, no_browser: bool, insecure: bool) -> Tokens:
    """The tokens of a login in a browser: one here, or where there is none, any other."""
    login = Login(address, insecure=insecure)
    try:
        found = (
            None if no_browser else by_browser(login, lambda place: face.tell(f"Opening your browser at\n  {place}"))
        )
        if found is None:
            device = login.begin_device()
            face.tell(f"Open  {device.address}  in a browser and type the code\n\n    {device.user_code}\n")
            face.tell("Waiting until you allow it there (Ctrl-C ends it) ...")
            found = login.wait_for_device(device, time.sleep)
        return found
    finally:
        login.close()


def _refuse_secret(word: str | None) -> None:
    """What was typed into the command line stands in its history, and for its duration in the list of processes."""
    if word is not None and re.match(r"\s*(stl_|eyJ)", word):
        raise InvalidInput(
            "a credential was given on the command line, where others can see it; it was not used",
            hint="Give it on stdin, with --key-file -. If others use this machine:  satchel key reroll ID --grace 0",
        )


def _key(face: Face, file: str) -> str:
    if file == "-" and sys.stdin.isatty():
        return secret(face, "API key")
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


def secret(face: Face, what: str) -> str:
    """Ask without showing what is typed; a program gives it on stdin."""
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, err=True)).strip()
    text = sys.stdin.readline(MAX_KEY_CHARACTERS).rstrip("\r\n")
    if not text:
        raise InvalidInput(f"no {what.lower()} was given", hint="Type it when asked, or write it to stdin.")
    return text
