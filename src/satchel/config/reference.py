"""``docs/reference/settings.md``, written from the declarations."""

from __future__ import annotations

from satchel.config.declared import Setting, settings_of
from satchel.config.machine import Machine
from satchel.config.server import ServerSettings


def reference() -> str:
    """The text of ``docs/reference/settings.md``."""
    lines = [
        "# Settings",
        "",
        "Generated from `src/satchel/config`; a test keeps the two equal.",
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
