"""From where somebody stands to the project: the nearest folder upward that has a ``.satchel/``, and its settings.

``config.toml`` belongs to the person as much as to Satchel: reading it refuses what it does not know by name, so
that a misspelt ``exlude`` is told and not obeyed in silence. Writing keeps no comments.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satchel.errors import ConfigInvalid, NotAFolder, NotAProject
from satchel.objects.ids import is_random_id
from satchel.worktree import beneath, durable
from satchel.worktree.policy import NO_POLICIES, Policies

LOCAL_DIR = ".satchel"
CONFIG_NAME = "config.toml"
MAX_FILE_BYTES = 8 * 1024 * 1024
"""Larger files are left out, unless the project's ``max_file_bytes`` says otherwise."""
MOST_FILE_BYTES = 64 * 1024 * 1024
"""What ``max_file_bytes`` may be raised to: a file is read into memory whole."""
_MEND = (
    "Mend that file in an editor: nothing was changed. Where it cannot be mended, remove it and run `satchel init`\n"
    "(and `satchel remote add`, where there was a remote) again: your files stay as they are."
)
_READABLE = "Check its permissions, those of its folder, and the disk, and run the command again: nothing was changed."
MAX_PATTERNS = 500
"""Patterns of one list of ``config.toml``."""
MAX_PATTERN_CHARACTERS = 1_024
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """A project's ``.satchel/config.toml``."""

    id: str
    name: str
    """The slug: lowercase letters, digits and hyphens, at most 63."""
    include: tuple[str, ...] = ()
    """Patterns as in ``.gitignore``; when there are any, only files they match belong to the project."""
    exclude: tuple[str, ...] = ()
    """Patterns of files that do not belong, stronger than any ignore file."""
    max_file_bytes: int = MAX_FILE_BYTES
    remote_url: str | None = None
    remote_project: str | None = None
    policies: Policies = NO_POLICIES


def find_root(start: Path) -> Path | None:
    """The nearest folder from ``start`` upward holding a ``.satchel`` folder, absolute; ``None`` if there is none.

    Raises ``NotAFolder`` where ``start`` is not a folder.
    """
    try:
        here = start.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise NotAFolder(f"{start} does not exist or cannot be reached") from error
    if not here.is_dir():
        raise NotAFolder(f"{start} is not a folder")
    return next((folder for folder in (here, *here.parents) if local_dir(folder).is_dir()), None)


def local_dir(root: Path) -> Path:
    """Where everything Satchel writes for a project lives."""
    return root / LOCAL_DIR


def make_slug(text: str) -> str:
    """A slug made from any name, ``project`` where nothing of it is left."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")
    return slug or "project"


def read_project_config(root: Path) -> ProjectConfig:
    """Read and check ``config.toml``. Raises ``NotAProject`` without one and ``ConfigInvalid`` naming what is wrong."""
    import tomllib

    path = local_dir(root) / CONFIG_NAME
    try:
        text = beneath.read_own(path).decode()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotAProject(f"{root} has no {LOCAL_DIR}/{CONFIG_NAME}") from error
    except OSError as error:
        hint = _MEND if error.errno == errno.EINVAL else _READABLE  # something else in its place, or it is whole
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{path} is not UTF-8", hint=_MEND) from error
    try:
        loaded = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}", hint=_MEND) from error
    return _checked(loaded, path)


def write_project_config(root: Path, config: ProjectConfig) -> None:
    """Replace ``config.toml`` durably. Raises ``DiskFull`` or ``FolderUnwritable``."""
    lines = [
        "# What makes this folder a Satchel project. Edit it freely; comments are lost when Satchel writes it.",
        f"id = {_toml(config.id)}",
        f"name = {_toml(config.name)}",
    ]
    if config.include:
        lines.append(f"include = {_toml_list(config.include)}")
    if config.exclude:
        lines.append(f"exclude = {_toml_list(config.exclude)}")
    if config.max_file_bytes != MAX_FILE_BYTES:
        lines.append(f"max_file_bytes = {config.max_file_bytes}")
    if config.remote_url is not None:
        lines += ["", "[remote]", f"url = {_toml(config.remote_url)}"]
        if config.remote_project is not None:
            lines.append(f"project = {_toml(config.remote_project)}")
    if any(config.policies):
        lines += ["", "[sync]"]
        lines += [f"{name} = {_toml_list(items)}" for name, items in config.policies._asdict().items() if items]
    durable.replace(local_dir(root) / CONFIG_NAME, ("\n".join(lines) + "\n").encode())


def _checked(loaded: Mapping[str, Any], path: Path) -> ProjectConfig:
    def fail(what: str) -> ConfigInvalid:
        return ConfigInvalid(f"{path}: {what}", hint=_MEND)

    remote = loaded.get("remote", {})
    if not isinstance(remote, dict):
        raise fail("remote is not a table")
    sync = loaded.get("sync", {})
    if not isinstance(sync, dict):
        raise fail("sync is not a table")
    known = {"id", "name", "include", "exclude", "max_file_bytes", "remote", "sync"}
    strange = sorted(set(loaded) - known) + [f"remote.{key}" for key in sorted(set(remote) - {"url", "project"})]
    strange += [f"sync.{key}" for key in sorted(set(sync) - set(Policies._fields))]
    if strange:
        raise fail(f"unknown setting {', '.join(strange)}")
    name = loaded.get("name")
    if not isinstance(loaded.get("id"), str) or not is_random_id(loaded["id"], "prj"):
        raise fail("id is missing or not a project id (prj_ and 26 characters)")
    if not isinstance(name, str) or not SLUG.match(name):
        raise fail("name is missing or not a slug (lowercase letters, digits and hyphens, at most 63)")
    limit = loaded.get("max_file_bytes", MAX_FILE_BYTES)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_FILE_BYTES:
        raise fail(f"max_file_bytes is not a number from 1 to {MOST_FILE_BYTES}")
    for key, value in (("url", remote.get("url")), ("project", remote.get("project"))):
        if value is not None and not isinstance(value, str):
            raise fail(f"remote.{key} is not text")
        if value is not None and (not value.isprintable() or " " in value):  # it comes with the folder, and is shown
            raise fail(f"remote.{key} holds a blank, or what cannot be printed")
    lists = {key: _patterns(loaded.get(key, []), key, fail) for key in ("include", "exclude")}
    policies = Policies(*(_patterns(sync.get(key, []), f"sync.{key}", fail) for key in Policies._fields))
    return ProjectConfig(
        loaded["id"],
        name,
        lists["include"],
        lists["exclude"],
        limit,
        remote.get("url"),
        remote.get("project"),
        policies,
    )


def _patterns(value: object, key: str, fail: Callable[[str], ConfigInvalid]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise fail(f"{key} is not a list of patterns")
    if len(value) > MAX_PATTERNS or any(len(item) > MAX_PATTERN_CHARACTERS for item in value):
        raise fail(f"{key} has over {MAX_PATTERNS} patterns, or one over {MAX_PATTERN_CHARACTERS:,} characters")
    return tuple(value)


def _toml(text: str) -> str:
    # JSON strings are TOML strings, but for a bare DEL and for escaped halves of a surrogate pair.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_list(items: tuple[str, ...]) -> str:
    return "[\n" + "".join(f"    {_toml(item)},\n" for item in items) + "]"
