"""The server a command means, and the credential for it. Loaded by name: local verbs never come here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from satchel.cli import oskeyring
from satchel.cli.credentials import Credential, Credentials, Session
from satchel.cli.face import Face, pasted
from satchel.cli.folders import project_root, registry
from satchel.errors import ConfigInvalid, CredentialMissing, NoSuchThing, NotAProject, RemoteNotAccepted
from satchel.remote import Remote, checked_url
from satchel.worktree.find import ProjectConfig, read_project_config

if TYPE_CHECKING:
    from satchel.cli.reading import Reading


_NAME_ONE = "Name a hosted project with --project; those you may read:  satchel projects --remote"


def credentials(face: Face) -> Credentials:
    """Where this person's credentials are."""
    return Credentials(face.machine.config_dir / "credentials.json", oskeyring.find)


def server_url(face: Face, url: str | None = None) -> str:
    """The server meant: the one named, that of the project, ``SATCHEL_URL``, or the only one signed in to."""
    if url is None:
        try:
            url = read_project_config(project_root(face)).remote_url
        except NotAProject:
            url = None
    url = url or face.machine.url or None
    if url is None:
        known = credentials(face).urls()
        if len(known) != 1:
            raise ConfigInvalid(
                f"it is not clear which server is meant: {', '.join(known) or 'none is signed in to'}",
                hint="Name it with --url, in SATCHEL_URL, or be in a project that has it as its remote."
                if known
                else "Name it with --url, or sign in first:  satchel login URL",
            )
        url = known[0]
    return checked_url(url, insecure=True)  # whether it may be used is decided where it is


def open_remote(face: Face, url: str | None = None) -> Remote:
    """A connection with the credential for that server, and for no other. Raises ``CredentialMissing``."""
    address = server_url(face, url)
    stored = credentials(face)
    credential = stored.get(address)
    # SATCHEL_KEY goes to the server it belongs to alone: the address of a remote comes from a file of the folder.
    if face.machine.key and address == (face.machine.url or "").rstrip("/"):
        credential = Credential(key=face.machine.key, insecure=bool(credential and credential.insecure))
    if credential is None:
        hint = f"Sign in:  satchel login {pasted(address)}"
        if face.machine.key and not face.machine.url:
            hint += "\nSATCHEL_KEY is sent only to the server named by SATCHEL_URL."
        raise CredentialMissing(f"not signed in to {address}", hint=hint)
    if face.machine.key and not face.machine.url:
        face.warn(f"SATCHEL_KEY is not used: without SATCHEL_URL nobody says that it is for {address}.")
    remote = Remote(address, Session(stored, address, credential), insecure=credential.insecure)
    if command := click.get_current_context(silent=True):
        command.call_on_close(remote.close)  # its connections end with the command, whatever that does with it
    return remote


def project_remote(face: Face) -> tuple[ProjectConfig, Remote, str]:
    """The project here, its server and its hosted twin. Raises ``ConfigInvalid`` where there is none.

    Raises ``RemoteNotAccepted`` for one that came with the folder: files go only where their owner sent them.
    """
    root = project_root(face)
    config = read_project_config(root)
    if config.remote_url is None:
        raise ConfigInvalid(
            f"project {config.name} has no remote", hint="Choose one:  satchel remote add https://context.example.org"
        )
    if not registry(face).accepts(root, config.id, config.remote_url):
        again = f"satchel remote add {pasted(config.remote_url)} --project {pasted(config.remote_project or config.id)}"
        raise RemoteNotAccepted(
            f"this folder names the remote {config.remote_url}, and nobody chose it on this machine",
            hint=f"If it is where these files should go:  {again}\nIf not:  satchel remote remove",
        )
    return config, open_remote(face, config.remote_url), config.remote_project or config.id


def reading(face: Face, projects: Sequence[str], everywhere: bool) -> Reading:
    """What a reading verb asks with ``--remote``."""
    from satchel.cli.reading import Reading  # with the search behind it, which a sync has no use for

    if everywhere or projects:
        remote = open_remote(face)
        return Reading(remote, None if everywhere else list(projects), {}, face.cwd, remote.close)
    try:
        _, remote, project = project_remote(face)
    except NotAProject as error:
        raise NotAProject(error.message, hint=_NAME_ONE) from error
    return Reading(remote, [project], {}, face.cwd, remote.close)


def list_projects(face: Face) -> None:
    """Print the hosted projects the person may read."""
    found = open_remote(face).projects()

    def show() -> None:
        width = max((len(row["project"]) for row in found), default=0)
        for row in found:
            face.line(f"{row['project']:<{width}}  version {row['version']}  {face.fit(row['description'])}".rstrip())
        if not found:
            face.note("No project that you may read.")

    face.answer({"items": found}, show)


def replay_key() -> dict[str, str]:
    """The header that makes a write harmless to send twice."""
    return {"Idempotency-Key": os.urandom(16).hex()}


def tenant_id(remote: Remote, tenant: str) -> str:
    """The id of a tenant that an operator names by slug or id; what is neither is left for the server to refuse."""
    if tenant.startswith("ten_"):
        return tenant
    return next((str(row["id"]) for row in tenants_of(remote) if row["slug"] == tenant), tenant)


def tenants_of(remote: Remote) -> list[dict[str, Any]]:
    """All tenants of the server. Raises ``NoSuchThing`` for who does not operate it."""
    with for_operators():
        return remote.rows("/admin/tenants")


@contextmanager
def for_operators() -> Iterator[None]:
    """Within, an address that is not there means that the credential does not operate the server."""
    try:
        yield
    except NoSuchThing as error:
        raise NoSuchThing(
            "this credential does not operate the server",
            hint="Sign in with the operator's key (satchel login URL); satchel whoami says what this one is.",
        ) from error
