"""``satchel remote``: the hosted twin that this project syncs with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from satchel.cli.face import Face
from satchel.cli.folders import project_root, registry
from satchel.cli.hosted import open_remote, server_url
from satchel.cli.verb import VerbGroup, verb
from satchel.errors import ConfigInvalid, NoSuchProject
from satchel.remote import Remote
from satchel.remote.values import project_id
from satchel.worktree.base import load_base
from satchel.worktree.find import ProjectConfig, read_project_config, write_project_config

_SUMMARY = "Choose the hosted twin of this project."
command = VerbGroup("remote", help=_SUMMARY, short_help=_SUMMARY)
_STATUSES = (0, 1, 2, 4, 5, 6)


@verb(
    "add",
    examples=[
        ("satchel remote add https://context.example.org", "Make the hosted twin, or find it, and remember it."),
        ("satchel remote add https://context.example.org --project acme", "Join a project that is there already."),
    ],
    gives="`url`, `project`, `id`, `created`, `version`, `role`.",
    statuses=_STATUSES,
)
@click.argument("url", required=False)
@click.option("--project", metavar="PROJECT", help="The hosted project, by slug or id (default: the one of this name).")
def add(face: Face, url: str | None, project: str | None) -> None:
    """Choose the hosted twin of this project.

    URL may be left out where you are signed in to one server. Where the server has no such project, an empty one is
    made. No file travels yet: `satchel sync` does that, and
    `satchel sync --dry-run` shows what it would do.
    """
    root = project_root(face)
    config = read_project_config(root)
    address = server_url(face, url)
    if config.remote_url not in (None, address):
        raise ConfigInvalid(
            f"project {config.name} already has the remote {config.remote_url}",
            hint="Remove it first:  satchel remote remove",
        )
    remote = open_remote(face, address)
    hosted, made = _twin(remote, config, project)
    base, _ = load_base(root)
    # A folder that never synced takes the id of its twin: one project, one id, wherever it is.
    its = project_id(hosted["id"])
    changed = replace(config, id=its if base is None else config.id, remote_url=address, remote_project=its)
    write_project_config(root, changed)
    registry(face).register(root, changed.id, changed.name, remote=address)
    data = {
        "url": address, "project": hosted["slug"], "id": hosted["id"], "created": made, "version": hosted["version"],
        "role": hosted["role"],
    }  # fmt: skip

    def show() -> None:
        face.note(f"{'Made' if made else 'Joined'} {hosted['slug']} at {address} (version {hosted['version']}).")
        face.note("See what a sync would do:  satchel sync --dry-run")

    face.answer(data, show)


@verb(
    "show",
    examples=[
        ("satchel remote show", "The server, the project and the version last in step."),
        ("satchel remote show --json", "The same for a program."),
    ],
    gives="`url`, `project`, `lineage`, `version`, `digest`, `held`.",
)
def show(face: Face) -> None:
    """Show the hosted twin of this project.

    Asks nobody: the version is the one this folder was last in step with.
    """
    root = project_root(face)
    config = read_project_config(root)
    base, notices = load_base(root)
    data = {
        "url": config.remote_url,
        "project": config.remote_project,
        "lineage": base.lineage if base else None,
        "version": base.version if base else None,
        "digest": base.digest if base else None,
        "held": sorted(base.held) if base else [],
    }

    def print_it() -> None:
        if config.remote_url is None:
            face.line("No remote: this project is local-only.")
            return
        face.line(f"{config.remote_url}  project {config.remote_project}")
        face.line(f"last in step with version {base.version}, digest {base.digest[:8]}" if base else "never synced")

    for notice in notices:
        face.warn(notice)
    face.answer(data, print_it)


@verb(
    "remove",
    examples=[
        ("satchel remote remove", "Forget the address; no file changes, here or there."),
        ("satchel leave", "Forget the address and the last sync as well."),
    ],
    gives="`removed`: the address, or null.",
)
def remove(face: Face) -> None:
    """Forget the hosted twin.

    No file is touched, here or on the server. What was last in step is remembered, so that adding the same remote
    again goes on where it was; `satchel leave` forgets that too.
    """
    root = project_root(face)
    config = read_project_config(root)
    write_project_config(root, replace(config, remote_url=None, remote_project=None))
    known = config.remote_url is not None
    face.answer(
        {"removed": config.remote_url},
        lambda: face.note(f"Removed {config.remote_url}." if known else "There was no remote."),
    )


def _twin(remote: Remote, config: ProjectConfig, project: str | None) -> tuple[dict[str, Any], bool]:
    """The hosted project, found by the name given, by id or by slug; made where there is none and none was named."""
    for name in (project,) if project else (config.id, config.name):
        try:
            return remote.project(name), False
        except NoSuchProject:
            if project:
                raise
    remote.create_project(config.name, id=config.id)
    return remote.project(config.id), True


for word in (add, show, remove):
    command.add_command(word)
