"""How a setting is declared, and how its value is read and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from satchel.errors import ConfigInvalid

PREFIX = "SATCHEL_"
MAX_SECRET_CHARACTERS = 16_384
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

    @property
    def env_file(self) -> str:
        """The variable that names a file holding the value of a secret."""
        return self.env + "_FILE"


def setting(
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


def settings_of(group: type) -> list[Setting]:
    """The declared settings of a group, in order of declaration."""
    return [
        Setting(name=f.name, env=PREFIX + f.name.upper(), default=f.default, **cast(dict[str, Any], f.metadata))
        for f in dataclasses.fields(group)
        if f.metadata
    ]


def from_env(group: type, env: Mapping[str, str]) -> dict[str, Any]:
    """The values the environment gives; that of a secret may come from a file, less the line's end.

    Raises ``ConfigInvalid``, also for a secret given both ways.
    """
    values = {}
    for s in settings_of(group):
        given, file = env.get(s.env, ""), env.get(s.env_file, "") if s.secret else ""
        if given and file:
            raise ConfigInvalid(f"{s.env} and {s.env_file} are both set", hint="Unset one of them.")
        if file:
            given = _read_secret(s.env_file, Path(file))
        if given:
            values[s.name] = checked(s, given, s.env_file if file else s.env)
    return values


def _read_secret(name: str, file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(MAX_SECRET_CHARACTERS + 1).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{name} names {file}, which cannot be read as text") from error
    if not text or len(text) > MAX_SECRET_CHARACTERS:
        raise ConfigInvalid(f"{name} names {file}, which is empty or longer than {MAX_SECRET_CHARACTERS:,} characters")
    return text


def checked(setting: Setting, value: object, where: str) -> object:
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
