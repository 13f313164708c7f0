"""Which project a command means: the one named, the one you stand in, the one chosen with ``satchel use``, or simply
the folder."""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from satchel.cli.face import Face
from satchel.context.project import LocalProject
from satchel.errors import InvalidInput, NoSuchArtifact, NoSuchProject, NotAProject, SatchelError
from satchel.objects.ids import new_id
from satchel.worktree import durable
from satchel.worktree.find import find_root, local_dir, make_slug, read_project_config
from satchel.worktree.ignore import Rules
from satchel.worktree.names import typed_name
from satchel.worktree.walk import Worktree

if TYPE_CHECKING:
    from satchel.worktree.registry import Registered, Registry
    from satchel.worktree.undo import Bounds


def registry(face: Face) -> Registry:
    """The machine's list of projects."""
    from satchel.worktree.registry import Registry  # not loaded by the search of the project one stands in

    return Registry(face.machine.state_dir / "projects.json")


def project_root(face: Face) -> Path:
    """The folder of the project meant. Raises ``NotAProject`` where there is none."""
    root = find_root(face.cwd)
    if root is None and not face.chosen:
        current = registry(face).current()
        if current is not None:
            root = current.root
            # A folder that lost its .satchel would be taken for in step with what another one is.
            face.note_once(f"In {current.slug}, {root} (chosen with `satchel use`):")
    if root is None:
        raise NotAProject(f"{face.cwd} is not in a project")
    return root


def project_here(face: Face) -> LocalProject:
    """The project meant where none was named; a folder that never saw ``satchel init`` will do."""
    try:
        return local_project(project_root(face))
    except NotAProject:
        return _folder(face, face.cwd.resolve())


def project_named(face: Face, name: str) -> LocalProject:
    """The project of this machine with that slug, id or folder. Raises ``NoSuchProject``."""
    return local_project(registered_named(face, name).root)


def registered_named(face: Face, name: str) -> Registered:
    """The same as an entry of the registry. Raises ``InvalidInput`` where a slug is that of several folders."""
    from satchel.worktree.registry import Registered

    folder = (face.cwd / name).resolve()
    found = [entry for entry in registry(face).registered() if name in (entry.slug, entry.id) or entry.root == folder]
    if not found and (root := find_root(face.cwd)) is not None:
        config = read_project_config(root)  # a project may be used without being on the list, in a container say
        found = [Registered(config.id, config.name, root)] if name in (config.name, config.id) else []
    if not found:
        raise NoSuchProject(f"no project {name!r} on this machine", hint="See `satchel projects`.")
    if len(found) > 1:
        folders = ", ".join(str(entry.root) for entry in found)
        raise InvalidInput(f"several folders are project {name!r}: {folders}", hint="Name the folder instead.")
    return found[0]


def projects_everywhere(face: Face) -> list[LocalProject]:
    """Every project of the machine, with the one meant here among them. Of copies of one project the first counts."""
    found: dict[str, LocalProject] = {}
    roots = [entry.root for entry in registry(face).registered()]
    if (here := find_root(face.cwd)) is not None:
        roots.insert(0, here)
    for root in roots:
        project = local_project(root)
        found.setdefault(project.slug, project)
    if not found:
        raise NotAProject("there is no project on this machine yet")
    return sorted(found.values(), key=lambda project: project.slug)


def local_project(root: Path) -> LocalProject:
    """The project of a folder that has a ``.satchel``."""
    config = read_project_config(root)
    rules = Rules(config.include, config.exclude, config.max_file_bytes)
    own = local_dir(root)
    return LocalProject(config.name, config.id, root, rules, own / "state.db", own / "index.db")


def paths_in(face: Face, root: Path, named: tuple[str, ...]) -> tuple[str, ...]:
    """Files as a person names them, from where they stand, as paths of the project. Raises ``InvalidInput``."""
    found = []
    for name in named:
        path = in_project(face, name)
        if not (root / path).is_file():
            raise InvalidInput(f"{name} is not a file of the project in {root}")
        found.append(path)
    return tuple(found)


def in_project(face: Face, path: str) -> str:
    """A path as typed, relative to where one stands or else to the project, as the project names it.

    The one that is there; or that was at the last sync; or the first that would be in a folder that is there. Raises
    ``InvalidInput`` for an empty one, which a script's empty variable is, and which is not meant for the whole project.
    """
    require_named(path)
    root = os.path.realpath(project_root(face))
    absolute = os.path.normpath(os.path.join(os.path.realpath(face.cwd), path))
    typed = typed_name(root, os.path.normpath(path))
    if not absolute.startswith(root + os.sep):
        return typed
    here = typed_name(root, os.path.relpath(absolute, root).replace(os.sep, "/"))
    if here == typed or os.path.isabs(path) or typed.startswith(".."):
        return here
    from satchel.worktree.base import history_of

    either = (here, typed)
    there = [name for name in either if os.path.lexists(f"{root}/{name}")]
    there = there or [name for name in either if name in history_of(Path(root), either)]
    there = there or [name for name in either if os.path.isdir(os.path.dirname(f"{root}/{name}"))]
    return there[0] if there else typed


def require_named(path: str) -> None:
    """Raise ``InvalidInput`` for a path that is empty."""
    if not path:
        raise InvalidInput("the path is empty", hint="Name a file; a dot is the folder you are in.")


def no_artifact_at(root: Path, path: str, project: str) -> SatchelError | None:
    """What to say of a path at which there is something, and no artifact; ``None`` where nothing is there."""
    if os.path.isdir(root / path):
        return NoSuchArtifact(f"{path} is a folder", hint="Name one file of it.")
    try:
        os.close(os.open(root / path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
            return durable.unreadable(error, path)
    if os.path.lexists(root / path):
        return NoSuchArtifact(
            f"{path} is here, but does not belong to project {project}",
            hint="A rule leaves it out (.satchelignore, .gitignore or config.toml), or `satchel doctor` says why.",
        )
    return None


def undo_bounds(face: Face) -> Bounds:
    """How much the undo store of a folder may keep."""
    from satchel.worktree.undo import Bounds

    return Bounds(face.machine.undo_bytes, face.machine.undo_days)


def worktree_of(project: LocalProject) -> closing[Worktree]:
    """The folder of a project, for the length of a ``with``."""
    return closing(Worktree.open(project.root, rules=project.rules, state_path=project.state_path))


def _folder(face: Face, root: Path) -> LocalProject:
    """A folder without ``satchel init``: nothing is written into it, what is derived lives in the cache."""
    from satchel.worktree.registry import scratch_dirs

    scratch = scratch_dirs(root, face.machine.cache_dir)
    name = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).digest()[:16]
    return LocalProject(make_slug(root.name), new_id("prj", name), root, Rules(), *scratch)
