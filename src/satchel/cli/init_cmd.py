"""``satchel init``: a folder becomes a project. Nothing is moved; all that Satchel writes is in ``.satchel/``."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

import click

from satchel.cli.face import Face, one_line, plural, shown_path, size
from satchel.cli.folders import local_project, registry, worktree_of
from satchel.cli.inventory import counted_kinds, reasons
from satchel.cli.verb import verb
from satchel.context.answers import ContextAnswer
from satchel.context.local import LocalReader
from satchel.documents import MANIFEST_PATH
from satchel.errors import InvalidInput, NotAFolder, Unavailable
from satchel.objects.ids import new_id
from satchel.worktree import durable
from satchel.worktree.find import (
    CONFIG_NAME,
    SLUG,
    ProjectConfig,
    find_root,
    local_dir,
    make_slug,
    read_project_config,
    write_project_config,
)
from satchel.worktree.ignore import Rules
from satchel.worktree.include import propose_include
from satchel.worktree.walk import Scan, Worktree


class _Made(NamedTuple):
    root: Path
    config: ProjectConfig
    new: bool
    source_files: int
    """Files left out because the folder is mainly source code and only its documents were taken."""


@verb(
    "init",
    examples=[
        ("satchel init", "Make this folder a project and index it."),
        ("satchel init ~/notes --name notes --template", "Another folder, under a chosen name, with a context.json."),
    ],
    gives=(
        "The project: `id`, `project`, `folder`, `created`, `include`, `exclude`, `digest`, `artifacts`, "
        "`documents`, `bytes`, `kinds`, `leftOut`, `seconds`."
    ),
)
@click.argument("folder", required=False)
@click.option("--name", metavar="SLUG", help="The project's name: lowercase letters, digits and hyphens.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Take what this matches too; may be repeated.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out what this matches; may be repeated.")
@click.option("--all-files", is_flag=True, help="Take every file, even where the folder is mainly source code.")
@click.option("--template", is_flag=True, help="Write a context.json to start from, if there is none.")
def command(
    face: Face,
    folder: str | None,
    name: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    all_files: bool,
    template: bool,
) -> None:
    """Make this folder a project.

    Asks nothing, moves nothing and needs no account. Everything Satchel writes is in `.satchel/`; deleting that folder
    undoes it. In a folder that is mainly source code only documents are taken: the patterns are shown, and are in
    `.satchel/config.toml` to edit.

    In a project, `init` is harmless: it adds the patterns given, enters the folder into the machine's list and indexes
    what changed.
    """
    for pattern in (*include, *exclude):
        if not pattern.strip() or pattern.startswith("#"):  # as the one of an include list it would leave out all files
            raise InvalidInput(f"the pattern {pattern!r} matches nothing", hint="Name files as .gitignore does: docs/")
    root = _folder(face, folder)
    made = _make(root, name, include, exclude, all_files)
    if template:
        _write_template(root, made.config)
    try:
        registry(face).register(root, made.config.id, made.config.name)
    except Unavailable as error:  # the project is whole without it
        face.warn(f"{error.message}: `satchel projects` does not list this folder, and from elsewhere it is -C alone")
    began = time.perf_counter()
    project = local_project(root)
    with worktree_of(project) as worktree:
        scan = worktree.scan()
    with closing(LocalReader([project])) as reader:
        answer = reader.context(made.config.name)
    seconds = time.perf_counter() - began
    data = {
        "id": made.config.id,
        "project": made.config.name,
        "folder": str(root),
        "created": made.new,
        "include": list(made.config.include),
        "exclude": list(made.config.exclude),
        "digest": answer["digest"],
        "artifacts": len(scan.tree),
        "documents": len(scan.tree) - len(scan.not_indexed),
        "bytes": sum(scan.sizes.values()),
        "kinds": answer["kinds"],
        "leftOut": len(scan.left_out) + made.source_files,
        "seconds": round(seconds, 3),
    }
    face.answer(data, lambda: _show(face, made, scan, answer, seconds))


def _folder(face: Face, folder: str | None) -> Path:
    path = face.cwd / (folder or "")
    if not path.is_dir():
        raise NotAFolder(f"{folder} is not a folder")
    return path.resolve()


def _make(root: Path, name: str | None, include: tuple[str, ...], exclude: tuple[str, ...], all_files: bool) -> _Made:
    """Write the configuration, new or with what was added to it."""
    if name is not None and not SLUG.match(name):
        raise InvalidInput(
            f"{name!r} is not a project name",
            hint="Lowercase letters, digits and hyphens, at most 63, such as my-notes.",
        )
    source_files = 0
    if local_dir(root).exists() and not local_dir(root).is_dir():
        raise durable.FolderUnwritable(
            f"{local_dir(root)} is not a folder",
            hint="Satchel keeps its files in a folder of that name: move this away.",
        )
    # Without its config.toml the folder is no project yet: a first init was cut off there, or a person removed it.
    new = not os.path.lexists(local_dir(root) / CONFIG_NAME)
    if new:
        proposed = include
        if not include and not all_files:
            sizes, _ = Worktree.open(root, rules=Rules((), exclude)).survey()
            proposed = tuple(propose_include(sizes) or ())
            if proposed:
                kept, _ = Worktree.open(root, rules=Rules(proposed, exclude)).survey()
                source_files = len(sizes) - len(kept)
        config = ProjectConfig(new_id("prj", os.urandom(16)), name or make_slug(root.name), proposed, exclude)
        before = None
    else:
        before = read_project_config(root)
        added = tuple(pattern for pattern in include if pattern not in before.include)
        config = replace(
            before,
            name=name or before.name,
            include=() if all_files else before.include + added,
            exclude=before.exclude + tuple(pattern for pattern in exclude if pattern not in before.exclude),
        )
    if config != before:
        write_project_config(root, config)
    ignore = local_dir(root) / ".gitignore"
    if new and not ignore.exists():
        durable.replace(ignore, b"*\n")  # nothing of ours turns up in the repository the folder may be in
    return _Made(root, config, new, source_files)


def _write_template(root: Path, config: ProjectConfig) -> None:
    """A context.json to fill in. One that is there already stays as it is."""
    path = root / MANIFEST_PATH
    if path.exists():
        return
    template = {
        "name": config.name,
        "description": "What this project is, in a sentence an agent can use.",
        "repositories": [],
        "services": [],
        "relations": [],
    }
    durable.replace(path, (json.dumps(template, indent=2) + "\n").encode())


def _show(face: Face, made: _Made, scan: Scan, answer: ContextAnswer, seconds: float) -> None:
    documents = len(scan.tree) - len(scan.not_indexed)
    if documents:
        # The kinds count every file that belongs: where some are not searched, so does the total.
        found = plural(len(scan.tree), "file" if scan.not_indexed else "document")
        face.line(f"Found {found} ({size(sum(scan.sizes.values()))}): {counted_kinds(answer['kinds'])}")
    else:
        face.line(f"Found no text documents in {shown_path(made.root, face.cwd)} (yet).")
    left_out = [f"{plural(made.source_files, 'source file')} (by the patterns below)"] if made.source_files else []
    if named := reasons(scan.left_out):
        left_out.append(f"{', '.join(named)} (`satchel doctor` names them)")
    if scan.not_indexed:
        face.note(f"Kept, not searched: {', '.join(reasons(scan.not_indexed))}")
    if left_out:
        face.note(f"Left out: {', '.join(left_out)}")
    if made.source_files:
        face.note("This folder is mainly source code, so only these belong (in .satchel/config.toml):")
        for line in wrap("  ".join(map(one_line, made.config.include)), face.columns - 2, break_on_hyphens=False):
            face.note(f"  {line}")
        face.note("  Add more:  satchel init --include 'src/**/*.proto'      Take all:  satchel init --all-files")
    face.note(f"Indexed in {seconds:.1f} s.  Nothing was moved; everything Satchel wrote is in .satchel/")
    if (outer := find_root(made.root.parent)) is not None:
        face.note(f"This folder is also part of the project in {outer}.")
    if made.new:
        face.note()
        face.note('Try:  satchel search "deployment strategy"      Connect an agent:  satchel connect claude-code')
