"""The settings of a machine and of a server, each declared once.

A setting is a field of ``Machine`` or ``ServerSettings``: its type, default, unit, bounds and meaning stand in one
place, its environment variable is ``SATCHEL_`` and the name in capitals, and ``docs/reference/settings.md`` is
generated from the same declaration. Precedence: flag, environment, file, default. Nothing else in Satchel reads the
environment, and only the command line and the server read this module.

A server refuses an unknown ``SATCHEL_…`` variable: a misspelt limit must not be a silent default.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from satchel.errors import ConfigInvalid

PREFIX = "SATCHEL_"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


class Setting(NamedTuple):
    """One declared setting, as the reference shows it."""

    name: str
    env: str
    kind: str
    """``text``, ``number``, ``path``, ``switch`` or ``list`` (comma-separated in the environment)."""
    default: object
    unit: str
    low: int | None
    high: int | None
    choices: tuple[str, ...]
    secret: bool
    doc: str


def _setting(
    default: object,
    doc: str,
    *,
    kind: str = "text",
    unit: str = "",
    low: int | None = None,
    high: int | None = None,
    choices: tuple[str, ...] = (),
    secret: bool = False,
) -> Any:  # dataclasses.field has no better type for "any field"
    row = {"kind": kind, "unit": unit, "low": low, "high": high, "choices": choices, "secret": secret, "doc": doc}
    return dataclasses.field(default=default, metadata=row, repr=not secret)


MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Everything ``satchel serve`` can be told."""

    data: Path = _setting(  # noqa: RUF009 (a field specifier: its default is immutable)
        Path("satchel-data"), "Where the server keeps everything. Made with mode 0700 if absent.", kind="path"
    )
    host: str = _setting(
        "127.0.0.1", "Address to listen on. Other than loopback needs a TLS-terminating proxy in front."
    )
    port: int = _setting(
        8470, "TCP port to listen on; 0 takes any free one.", kind="number", unit="port", low=0, high=65_535
    )
    public_url: str = _setting("", "The address clients use, such as https://context.example.org. Default: host, port.")
    root_key: str = _setting("", "File holding the root key. Default: `root.key` in the data directory.")
    catalog_url: str = _setting("", "Where the catalog is. Default: `catalog.db` in the data directory (SQLite).")
    store_url: str = _setting("", "Where sealed objects rest. Default: `store` in the data directory.")
    allowed_hosts: tuple[str, ...] = _setting(
        (), "More Host names answered at /mcp, beside loopback, `host` and that of `public_url`.", kind="list"
    )
    allowed_origins: tuple[str, ...] = _setting(
        (), "Origins of web pages that may call /mcp, beside the server's own.", kind="list"
    )
    log_format: str = _setting(
        "auto", "Form of the log on stderr; auto: console on a terminal.", choices=("auto", "json", "console")
    )
    log_level: str = _setting("info", "Least severity logged.", choices=("debug", "info", "warning", "error"))
    token_seconds: int = _setting(600, "Life of an access token.", kind="number", unit="seconds", low=30, high=600)
    refresh_seconds: int = _setting(
        30 * 86_400, "Life of an unused refresh token.", kind="number", unit="seconds", low=600, high=365 * 86_400
    )
    credential_cache_seconds: int = _setting(
        30,
        "How long a checked credential is trusted without another look. A change made through this server counts at "
        "once, and every write looks again.",
        kind="number",
        unit="seconds",
        low=0,
        high=300,
    )
    max_file_bytes: int = _setting(
        8 * MIB, "Largest artifact accepted.", kind="number", unit="bytes", low=1_024, high=64 * MIB
    )
    max_json_bytes: int = _setting(
        4 * MIB, "Largest JSON request body.", kind="number", unit="bytes", low=1_024, high=64 * MIB
    )
    max_sync_bytes: int = _setting(
        4 * GIB, "Most bytes one sync may declare.", kind="number", unit="bytes", low=MIB, high=64 * GIB
    )
    body_idle_seconds: int = _setting(
        20, "Longest pause inside a request body.", kind="number", unit="seconds", low=1, high=600
    )
    body_total_seconds: int = _setting(
        60, "Longest time a request body may take.", kind="number", unit="seconds", low=1, high=86_400
    )
    sync_total_seconds: int = _setting(
        3_600, "The same for the body of a sync.", kind="number", unit="seconds", low=1, high=86_400
    )
    tenant_concurrency: int = _setting(
        64, "Requests of one tenant served at once; more are told to come back.", kind="number", low=1, high=10_000
    )
    reader_threads: int = _setting(
        4, "Threads that search and read documents.", kind="number", unit="threads", low=1, high=64
    )
    index_cache_bytes: int = _setting(
        4 * GIB, "Disk the search indexes may take; the least used go first.", kind="number", unit="bytes", low=MIB
    )
    quota_storage_bytes: int = _setting(50 * 10**9, "Storage of a new tenant.", kind="number", unit="bytes", low=0)
    quota_projects: int = _setting(1_000, "Projects of a new tenant.", kind="number", unit="projects", low=0)
    shutdown_seconds: int = _setting(
        8, "How long running requests may finish after SIGTERM.", kind="number", unit="seconds", low=0, high=600
    )

    @property
    def root_key_path(self) -> Path:
        return Path(self.root_key) if self.root_key else self.data / "root.key"

    @property
    def catalog(self) -> str:
        return self.catalog_url or f"sqlite:///{(self.data / 'catalog.db').absolute()}"

    @property
    def store(self) -> str:
        return self.store_url or (self.data / "store").absolute().as_uri()

    @property
    def url(self) -> str:
        """The address clients use, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url.rstrip("/") or f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the command line takes from the environment of the person running it."""

    debug: bool = _setting(False, "Show a traceback when a command fails, as --debug does.", kind="switch")
    key: str = _setting("", "API key for a remote, used instead of the one `satchel login` stored.", secret=True)
    url: str = _setting("", "Address of the server that SATCHEL_KEY belongs to.")

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
    home = Path(env.get("HOME") or "~").expanduser()

    def xdg(name: str, default: str) -> Path:
        value = env.get(name, "")
        # The XDG specification says to ignore a relative path.
        return (Path(value) if value.startswith("/") else home / default) / "satchel"

    return Machine(
        **_from_env(Machine, env),
        config_dir=xdg("XDG_CONFIG_HOME", ".config"),
        state_dir=xdg("XDG_STATE_HOME", ".local/state"),
        cache_dir=xdg("XDG_CACHE_HOME", ".cache"),
        no_color=bool(env.get("NO_COLOR")),
    )


def server_settings(
    flags: Mapping[str, object] | None = None, env: Mapping[str, str] | None = None, file: Path | None = None
) -> ServerSettings:
    """The server's settings: ``flags`` (``None`` values are absent), then ``env``, then ``file``, then defaults.

    ``file`` is TOML with the names of ``ServerSettings``; ``SATCHEL_CONFIG`` names it where no flag does.
    Raises ``ConfigInvalid`` naming the setting, where it came from and what it may be.
    """
    env = os.environ if env is None else env
    known = {s.env for s in (*settings_of(ServerSettings), *settings_of(Machine))} | {PREFIX + "CONFIG"}
    unknown = sorted(name for name in env if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise ConfigInvalid(
            f"{unknown[0]} is not a setting of Satchel", hint="See docs/reference/settings.md for every setting."
        )
    if file is None and env.get(PREFIX + "CONFIG"):
        file = Path(env[PREFIX + "CONFIG"])
    values = _from_file(ServerSettings, file) if file else {}
    values |= _from_env(ServerSettings, env)
    by_name = {s.name: s for s in settings_of(ServerSettings)}
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = _checked(by_name[name], value, f"--{name.replace('_', '-')}")
    return ServerSettings(**values)


def settings_of(group: type[ServerSettings] | type[Machine]) -> list[Setting]:
    """The declared settings of a group, in order of declaration."""
    return [
        Setting(name=f.name, env=PREFIX + f.name.upper(), default=f.default, **cast(dict[str, Any], f.metadata))
        for f in dataclasses.fields(group)
        if f.metadata
    ]


def _from_env(group: type[ServerSettings] | type[Machine], env: Mapping[str, str]) -> dict[str, Any]:
    return {s.name: _checked(s, env[s.env], s.env) for s in settings_of(group) if env.get(s.env, "") != ""}


def _from_file(group: type[ServerSettings], file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"the settings file {file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"the settings file {file} is not TOML: {error}") from error
    by_name = {s.name: s for s in settings_of(group)}
    for name in table:
        if name not in by_name:
            raise ConfigInvalid(f"{name!r} in {file} is not a setting of the server")
    return {name: _checked(by_name[name], value, f"{name!r} in {file}") for name, value in table.items()}


def _checked(setting: Setting, value: object, where: str) -> object:
    """``value`` as the setting's type, within its bounds; ``where`` says which source to name when it is not."""
    match setting.kind:
        case "number":
            return _number(setting, value, where)
        case "path":
            return Path(str(value)).expanduser()
        case "switch":
            return _switch(value, where)
        case "list":
            parts = value.split(",") if isinstance(value, str) else cast(list[object], value)
            return tuple(text for part in parts if (text := str(part).strip()))
    text = str(value)
    if setting.choices and text not in setting.choices:
        raise ConfigInvalid(f"{where} has to be one of {', '.join(setting.choices)}, not {text!r}")
    return text


def _number(setting: Setting, value: object, where: str) -> int:
    try:
        number = int(str(value))
    except ValueError as error:
        raise ConfigInvalid(f"{where} has to be a whole number, not {str(value)!r}") from error
    low, high = setting.low, setting.high
    if (low is not None and number < low) or (high is not None and number > high):
        bounds = f"from {low} to {high}" if high is not None else f"at least {low}"
        raise ConfigInvalid(f"{where} has to be {bounds}{' ' + setting.unit if setting.unit else ''}, not {number}")
    return number


def _switch(value: object, where: str) -> bool:
    text = str(value).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ConfigInvalid(f"{where} has to be 1 or 0, not {text!r}")


# The reference ---------------------------------------------------------------------------------------------------


def reference() -> str:
    """The text of ``docs/reference/settings.md``."""
    lines = [
        "# Settings",
        "",
        "Generated from `src/satchel/config.py`; a test keeps the two equal.",
        "",
        "## Server",
        "",
        "`satchel serve` takes each from a flag where it has one, then the environment, then the TOML file named by",
        "`SATCHEL_CONFIG` (keys are the names below), then the default. An unknown `SATCHEL_…` variable stops it.",
        "",
        *_table(settings_of(ServerSettings)),
        "",
        "## Command line",
        "",
        "Read from the environment by every command. `XDG_CONFIG_HOME`, `XDG_STATE_HOME`, `XDG_CACHE_HOME` and",
        "`NO_COLOR` are respected too.",
        "",
        *_table(settings_of(Machine)),
        "",
    ]
    return "\n".join(lines)


def _table(settings: list[Setting]) -> list[str]:
    rows = ["| name | variable | default | allowed | meaning |", "|---|---|---|---|---|"]
    for s in settings:
        secret = " Secret: never logged." if s.secret else ""
        rows.append(f"| `{s.name}` | `{s.env}` | {_shown(s)} | {_allowed(s)} | {s.doc}{secret} |")
    return rows


def _shown(setting: Setting) -> str:
    default = setting.default
    if default in ("", (), None):
        return "–"
    if isinstance(default, bool):
        return "`1`" if default else "`0`"
    return f"`{default}`"


def _allowed(setting: Setting) -> str:
    if setting.choices:
        return ", ".join(f"`{choice}`" for choice in setting.choices)
    if setting.kind == "number":
        high = f" to {setting.high:,}" if setting.high is not None else " or more"
        return f"{setting.low or 0:,}{high}{' ' + setting.unit if setting.unit else ''}"
    return {"switch": "`0`, `1`", "list": "comma-separated"}.get(setting.kind, setting.kind)
