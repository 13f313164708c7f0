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
        "Generated from `src/satchel/config`; a test keeps the two equal. A variable that is set to nothing counts as",
        "absent. Where a column says *secret*, the value is never logged or shown, and may come from a file that the",
        "variable ending in `_FILE` names (its last line ending is taken off; both at once are refused).",
        "",
        "The environment alone chooses the mode:",
        "",
        "| mode | variables | then |",
        "|---|---|---|",
        "| local | none | `satchel init`, `search`, `mcp` |",
        "| cloud | none for one process; `SATCHEL_DATABASE_URL`, `SATCHEL_STORE_URL` for many | `satchel serve` |",
        "| hybrid | `SATCHEL_URL` and `SATCHEL_KEY`, or `SATCHEL_KEY_FILE` | `satchel remote add`, `satchel sync` |",
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
        "`NO_COLOR` are respected too. `satchel doctor` names a `SATCHEL_…` variable that nothing reads.",
        "",
        *_table(settings_of(Machine)),
        "",
    ]
    return "\n".join(lines)


def _table(settings: list[Setting]) -> list[str]:
    rows = ["| name | variable | default | limits | unit | secret | meaning |", "|---|---|---|---|---|---|---|"]
    for s in settings:
        variable = f"`{s.env}`, `{s.env_file}`" if s.secret else f"`{s.env}`"
        secret = "secret" if s.secret else "–"
        unit = s.unit or "–"
        rows.append(f"| `{s.name}` | {variable} | {_shown(s)} | {_allowed(s)} | {unit} | {secret} | {s.doc} |")
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
        return f"{setting.low or 0:,}{high}"
    return {"switch": "`0`, `1`", "list": "comma-separated"}.get(setting.kind, setting.kind)
