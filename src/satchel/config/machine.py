"""The settings of the machine a person works on: all that a local verb needs, so nothing else is loaded for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from satchel.config.declared import from_env, setting
from satchel.errors import ConfigInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the command line takes from the environment of the person running it."""

    debug: bool = setting(False, "Show a traceback when a command fails, as --debug does.", kind="switch")
    key: str = setting("", "API key for a remote, used instead of the one `satchel login` stored.", secret=True)
    url: str = setting("", "Address of the server that SATCHEL_KEY belongs to.")

    mergetool: str = setting(
        "", "Shell command of `satchel resolve --edit`; LOCAL, BASE, REMOTE and MERGED name the files, as for git."
    )

    undo_bytes: int = setting(
        1024 * 1024 * 1024,
        "Most that the undo store of a folder keeps. Older syncs are let go, and named, to make room for a new one; "
        "a sync that does not fit by itself stops before it overwrites.",
        kind="number",
        unit="bytes",
        low=0,
    )
    undo_days: int = setting(
        90,
        "How long the undo store of a folder keeps what a sync overwrote; older is let go, and named, by the next one.",
        kind="number",
        unit="days",
        low=0,
        high=36_500,
    )

    editor: str = ""
    """``VISUAL`` or ``EDITOR``."""
    config_dir: Path = Path()
    """``XDG_CONFIG_HOME/satchel``: credentials."""
    state_dir: Path = Path()
    """``XDG_STATE_HOME/satchel``: the registry of projects on this machine."""
    cache_dir: Path = Path()
    """``XDG_CACHE_HOME/satchel``: indexes of folders without ``satchel init``."""
    no_color: bool = False
    """``NO_COLOR`` is set to anything."""


def machine(env: Mapping[str, str] | None = None) -> Machine:
    """The machine settings from ``env`` (default: the process environment). Raises ``ConfigInvalid``."""
    env = os.environ if env is None else env
    try:
        home = Path(env.get("HOME") or "~").expanduser()
    except RuntimeError as error:
        raise ConfigInvalid("it is not known where your home folder is", hint="Set HOME to a folder.") from error

    def xdg(name: str, default: str) -> Path:
        value = env.get(name, "")
        # The XDG specification says to ignore a relative path.
        return (Path(value) if value.startswith("/") else home / default) / "satchel"

    return Machine(
        **from_env(Machine, env),
        editor=env.get("VISUAL") or env.get("EDITOR") or "",
        config_dir=xdg("XDG_CONFIG_HOME", ".config"),
        state_dir=xdg("XDG_STATE_HOME", ".local/state"),
        cache_dir=xdg("XDG_CACHE_HOME", ".cache"),
        no_color=bool(env.get("NO_COLOR")),
    )
