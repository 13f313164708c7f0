"""``satchel join``: from an invitation to a folder that is ready."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from satchel.cli.credentials import Credential
from satchel.cli.face import Face, shown_path
from satchel.cli.folders import local_project, registry, worktree_of
from satchel.cli.hosted import credentials, open_remote
from satchel.cli.login_cmd import secret
from satchel.cli.progress import Progress
from satchel.cli.sync_cmd import show as show_sync
from satchel.cli.sync_report import report_data
from satchel.cli.verb import verb
from satchel.cli.waiting import patience
from satchel.errors import InvalidInput, NotFound, SignInNeeded
from satchel.remote import FixedToken, Remote, Traffic, checked_url
from satchel.remote.values import project_id, slug, text
from satchel.sync.choices import Direction
from satchel.sync.report import SyncReport
from satchel.sync.run import run
from satchel.worktree import durable
from satchel.worktree.find import CONFIG_NAME, ProjectConfig, local_dir, read_project_config, write_project_config
from satchel.worktree.policy import Governing

_MARK = "/join/"
_ROLES = ("read", "write", "admin")
MAX_EMAIL_CHARACTERS = 320
WAIT_SECONDS = 30


@verb(
    "join",
    examples=[
        ("satchel join https://context.example.org/join/stl_invite_...", "Sign in, or make an account, and clone."),
        ("satchel join - ~/notes --email sam@example.org", "Asks for the link, which then is in no shell history."),
    ],
    gives="`url`, `tenant`, `project`, `role`, `folder`, and `sync` as `satchel sync` gives it, or null.",
    statuses=(0, 1, 2, 3, 4, 5, 6),
)
@click.argument("url")
@click.argument("folder", required=False)
@click.option("--email", help="Your e-mail address; asked for by default.")
@click.option("--name", help="Your name, for a new account; the part before the @ by default.")
@click.option("--no-clone", is_flag=True, help="Only join: fetch no files.")
@click.option("--insecure", is_flag=True, help="Accept http:// to another machine: the password goes in clear.")
def command(
    face: Face, url: str, folder: str | None, email: str | None, name: str | None, no_clone: bool, insecure: bool
) -> int:
    """Join by an invitation, and fetch the project.

    Says what the invitation is to, then asks for your e-mail address and password: those of your account on that
    server, or those of the account to be made; not where you are signed in there and have joined (as in a browser).
    The password is never taken from the command line. The project is
    fetched into FOLDER (its name by default), which has to be new, empty, or a folder of this project already. Running
    it again is harmless.
    """
    address, invitation = _parts(secret(face, "Invitation") if url == "-" else url, insecure)
    anybody = Remote(address, FixedToken(None), insecure=insecure)
    to = anybody.call("POST", "/auth/invitation", json={"invitation": invitation})
    project = None if to["project"] is None else slug(to["project"])
    root = None if project is None or no_clone else _place(face, folder or project)
    face.note(_told(to, address))
    joined = None if email else _in_already(face, address, to)
    if joined is None:
        asked = {"invitation": invitation, "email": email or _email(face), "password": _password(face)}
        joined = anybody.call("POST", "/auth/join", json=asked | ({"name": name} if name else {}))
        access, refresh = text(joined["accessToken"]), text(joined["refreshToken"])
        credentials(face).put(address, Credential(access=access, refresh=refresh, insecure=insecure))
    data = {name: joined[name] for name in ("tenant", "project", "role")}
    data |= {"url": address, "folder": None if root is None else str(root), "sync": None}
    if root is None or project is None:
        face.answer(data, lambda: face.note(f"Joined {to['tenant']}. Next:  satchel projects --remote"))
        return 0
    report, took, traffic = _clone(face, root, address, project_id(joined["project"]), project)

    def show() -> None:
        show_sync(face, report, took, False, traffic)
        face.note(f"{project} is in {shown_path(root, face.cwd)}.  Next:  satchel sync, or satchel search there")

    face.answer({**data, "sync": report_data(report)}, show)
    return 3 if report.conflicts else 0


def _parts(url: str, insecure: bool) -> tuple[str, str]:
    """The server and the invitation's text."""
    address, mark, invitation = url.strip().partition(_MARK)
    if not mark or not invitation:
        raise InvalidInput(
            "this is not the link of an invitation", hint="It looks like https://context.example.org/join/stl_invite_…"
        )
    return checked_url(address, insecure=insecure), invitation


def _told(to: dict[str, Any], address: str) -> str:
    what = f"the project {to['project']} (may {to['role']})" if to["project"] else f"the tenant (as {to['tenantRole']})"
    return f"An invitation to {what} of {to['tenantName']} at {address}, until {to['expiresAt']}."


def _in_already(face: Face, address: str, to: dict[str, Any]) -> dict[str, Any] | None:
    """What who is signed in here already has of what the invitation gives; None where it has to join first."""
    if credentials(face).get(address) is None:
        return None
    try:
        with closing(open_remote(face, address)) as remote:
            if remote.call("GET", "/auth/whoami")["tenant"]["slug"] != to["tenant"] or to["project"] is None:
                return None
            found = remote.project(to["project"])
    except (SignInNeeded, NotFound):
        return None
    if _ROLES.index(found["role"]) < _ROLES.index(to["role"]):
        return None
    return {"tenant": to["tenant"], "project": found["id"], "role": found["role"]}


def _email(face: Face) -> str:
    if sys.stdin.isatty():
        return str(click.prompt("E-mail address", err=True)).strip()
    text = sys.stdin.readline(MAX_EMAIL_CHARACTERS).strip()
    if not text:
        raise InvalidInput("no e-mail address was given", hint="Say --email ADDRESS, or write it to stdin.")
    return text


def _password(face: Face) -> str:
    """The password of the account, typed twice where it is a new one."""
    if sys.stdin.isatty() and not click.confirm("Do you have an account on this server?", default=False, err=True):
        return str(
            click.prompt("New password (12 characters or more)", hide_input=True, confirmation_prompt=True, err=True)
        )
    return secret(face, "Password")


def _place(face: Face, folder: str) -> Path:
    """Where the project goes. Raises ``InvalidInput`` where there is something else."""
    root = (face.cwd / folder).absolute()
    taken = root.exists() and (not root.is_dir() or any(path != local_dir(root) for path in root.iterdir()))
    if taken and not _is_project(root):
        raise InvalidInput(
            f"{shown_path(root, face.cwd)} is there and not empty", hint="Name another folder:  satchel join URL FOLDER"
        )
    return root


def _is_project(root: Path) -> bool:
    """Without its config.toml a folder is none yet: an earlier join was cut off there."""
    return os.path.lexists(local_dir(root) / CONFIG_NAME)


def _clone(face: Face, root: Path, address: str, project: str, name: str) -> tuple[SyncReport, float, Traffic]:
    began = time.perf_counter()
    root.mkdir(parents=True, exist_ok=True)
    if _is_project(root):
        config = read_project_config(root)
        if config.remote_url not in (None, address) or config.remote_project not in (None, project):
            raise InvalidInput(f"{root} is another project ({config.name})", hint="Name another folder.")
        config = replace(config, id=project, remote_url=address, remote_project=project)
    else:
        config = ProjectConfig(project, name, remote_url=address, remote_project=project)
    write_project_config(root, config)
    ignore = local_dir(root) / ".gitignore"
    if not ignore.exists():
        durable.replace(ignore, b"*\n")
    registry(face).register(root, config.id, config.name, remote=address)
    progress = Progress(face)
    with (
        closing(progress),
        closing(open_remote(face, address)) as remote,
        worktree_of(local_project(root)) as worktree,
    ):
        report = run(
            worktree,
            remote,
            project,
            Direction.FROM_CLOUD,
            governing=Governing(config.policies),
            progress=progress,
            patience=patience(face, WAIT_SECONDS, progress.close),
        )
    for notice in report.notices:
        face.warn(notice)
    return report, time.perf_counter() - began, remote.traffic
