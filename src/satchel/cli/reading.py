"""What a reading verb asks: local folders, or the server with ``--remote``, through the same questions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from satchel.cli.face import Face, shown_path
from satchel.cli.folders import project_here, project_named, projects_everywhere
from satchel.config.openfiles import open_files
from satchel.context.local import LocalReader

if TYPE_CHECKING:
    from satchel.context.answers import ContextReader
    from satchel.context.project import LocalProject


class Reading(NamedTuple):
    """Something to ask, for the length of a ``with``."""

    reader: ContextReader
    wanted: list[str] | None
    """The projects asked, by slug or id; ``None`` for all that the reader has."""
    roots: Mapping[str, Path]
    """Slug to folder, for local projects."""
    cwd: Path
    close: Callable[[], None]

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def one(self) -> str:
        """The one project a question about one project is asked of."""
        assert self.wanted is not None
        return self.wanted[0]

    @property
    def root(self) -> Path | None:
        """The folder of that project, where it has one here."""
        return self.roots.get(self.one)

    def place(self, project: str, path: str) -> str:
        """Where to open an artifact: a path from where the person stands, or project and path when it is hosted."""
        root = self.roots.get(project)
        if root is None:
            return path if self.wanted is not None and len(self.wanted) == 1 else f"{project}/{path}"
        return shown_path(root / path, self.cwd)

    def tell(self, face: Face) -> None:
        """Say what happened on the way, such as an index that had to be rebuilt."""
        if isinstance(self.reader, LocalReader):
            for notice in self.reader.notices:
                face.warn(notice)


def open_reading(
    face: Face, projects: Sequence[str], *, everywhere: bool = False, remote: bool = False, related: bool = False
) -> Reading:
    """Open what is to be asked; with ``related`` the reader knows the other projects of this machine too.

    Raises ``NoSuchProject`` and, with ``remote``, whatever the credential calls for.
    """
    if remote:
        # By name: what speaks to a network is loaded only where a person asked for the network.
        hosted = importlib.import_module("satchel.cli.hosted")
        return cast(Reading, hosted.reading(face, projects, everywhere))
    found = projects_asked(face, projects, everywhere=everywhere)
    wanted = [project.slug for project in found]
    if related and not everywhere:
        found += [project for project in projects_everywhere(face) if project.slug not in wanted]
    if len(found) > 1:
        open_files()  # each project keeps several open; 256, as macOS has it, are too few for forty
    reader = LocalReader(found)
    roots = {project.slug: project.root for project in found}
    return Reading(reader, wanted, roots, face.cwd, reader.close)


def projects_asked(face: Face, projects: Sequence[str], *, everywhere: bool = False) -> list[LocalProject]:
    """The projects of this machine that are meant. Raises ``NoSuchProject``."""
    if everywhere:
        return projects_everywhere(face)
    if projects:
        return list({project.slug: project for project in (project_named(face, name) for name in projects)}.values())
    return [project_here(face)]
