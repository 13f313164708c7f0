"""What a person or a program sees: one object that knows the terminal and prints accordingly.

Answers go to stdout, everything said about them (totals, hints, progress, errors) to stderr unless a person reads
both on one terminal. Stored text is cleaned of control characters before a terminal sees it: a document must not be
able to move the cursor or recolour what Satchel says. With ``--json`` stdout holds exactly one JSON value.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import click

from satchel.config.machine import Machine

DEFAULT_COLUMNS = 80
"""Assumed width where no terminal tells: the width that help and documentation are written for."""

_ASCII = str.maketrans(
    {
        "…": "...", "›": ">", "·": "-", "–": "-", "—": "-", "↑": "up", "↓": "down", "⇄": "both", "█": "#", "░": ".",
        "“": '"', "”": '"', "‘": "'", "’": "'", "→": "->", "←": "<-", "×": "x", "✓": "ok",
    }
)  # fmt: skip

# C0 and C1 controls except tab and newline, and the marks that reorder text on a screen.
_CONTROLS = dict.fromkeys(
    [*range(9), *range(11, 32), 127, *range(128, 160), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
    "\ufffd",
)


_LOOK = re.compile("(\x1b\\[[0-9;]*m)")
_SIGNS = {"+": "green", "-": "red", "@": "cyan"}


class Face:
    """Where a verb prints. ``cwd`` is the folder it acts in (``-C``), ``chosen`` whether that was said explicitly."""

    def __init__(
        self,
        machine: Machine,
        *,
        json: bool = False,
        quiet: bool = False,
        color: str = "auto",
        cwd: Path | None = None,
        out: IO[str] | None = None,
        err: IO[str] | None = None,
        columns: int | None = None,
    ) -> None:
        self.machine = machine
        self.json = json
        self.quiet = quiet
        self.chosen = cwd is not None
        self.cwd = cwd if cwd is not None else Path.cwd()
        self._out = out if out is not None else sys.stdout
        self._err = err if err is not None else sys.stderr
        self.terminal = self._out.isatty()
        self.watched = self._err.isatty()
        self.columns = columns or _columns(self._out)
        self.color = color == "always" or (color == "auto" and self.terminal and not machine.no_color)
        self._noted: set[str] = set()
        self._utf8 = {id(stream): _is_utf8(stream) for stream in (self._out, self._err)}

    # Saying ----------------------------------------------------------------------------------------------------

    def answer(self, data: object, show: Callable[[], None] | None = None) -> None:
        """Give the verb's answer: ``data`` as JSON with ``--json``, else whatever ``show`` prints."""
        if self.json:
            import json

            self._write(self._out, json.dumps(data, indent=2, ensure_ascii=not self._utf8[id(self._out)]))
        elif show is not None:
            show()

    def event(self, text: str) -> None:
        """One line of a stream of JSON lines: of a verb that goes on and on, which has no one answer."""
        self._write(self._out, text)

    def line(self, text: str = "") -> None:
        """A line of the answer itself."""
        if not self.json:
            self._write(self._out, text)

    def change(self, line: str) -> None:
        """A line of a diff, coloured by its sign: of stored text, as for ``raw``."""
        shown = clean(line) if self.terminal else line
        colour = _SIGNS.get(line[:1])
        self.line(self.style(shown, fg=colour) if colour else shown)

    def note(self, text: str = "") -> None:
        """A line about the answer: totals, what was done, the next step. Silent with --quiet."""
        if not (self.json or self.quiet):
            self._write(self._out if self.terminal else self._err, text)

    def note_once(self, text: str) -> None:
        """The same, however often the verb comes to it."""
        if text not in self._noted:
            self._noted.add(text)
            self.note(text)

    def warn(self, text: str) -> None:
        """Something a person has to know even with --quiet, and with --json (it goes to stderr)."""
        self._write(self._err, f"satchel: {text}")

    def tell(self, text: str) -> None:
        """What a person has to do before the verb can go on: said even with --quiet and --json, on stderr."""
        self._write(self._err, text)

    def raw(self, text: str) -> None:
        """Stored text: byte for byte when piped, cleaned for a terminal."""
        if self.terminal:
            text = clean(text)
        stream = self._out
        buffer = getattr(stream, "buffer", None)
        if buffer is not None and not self.terminal:
            stream.flush()
            buffer.write(text.encode("utf-8", "surrogateescape"))
            buffer.flush()
        else:
            stream.write(text if self._utf8[id(stream)] else _ascii(text))
            stream.flush()

    def erase_line(self, text: str) -> None:
        """Write ``text`` over the current line of the error stream (progress)."""
        self._err.write("\r\x1b[2K" + (text if self._utf8[id(self._err)] else _ascii(text)))
        self._err.flush()

    def _write(self, stream: IO[str], text: str) -> None:
        if self.terminal if stream is self._out else self.watched:  # whoever made the line may have cleaned not all
            text = clean(text, looks=self.color)
        stream.write((_utf8(text) if self._utf8[id(stream)] else _ascii(text)) + "\n")
        stream.flush()

    # Looks -----------------------------------------------------------------------------------------------------

    def style(self, text: str, **look: bool | str) -> str:
        """``text`` in colour or weight, where colours are shown."""
        return click.style(text, **look) if self.color else text  # type: ignore[arg-type]  # looks are click's own

    def dim(self, text: str) -> str:
        return self.style(text, dim=True)

    def bold(self, text: str) -> str:
        return self.style(text, bold=True)

    def fit(self, text: str, room: int | None = None) -> str:
        """``text`` on one line, cut with an ellipsis to the width of the terminal (or to ``room``)."""
        text = one_line(text)
        room = self.columns if room is None else room
        return text if not self.terminal or len(text) <= room else text[: max(room - 1, 1)] + "…"

    # Asking ----------------------------------------------------------------------------------------------------

    @property
    def attended(self) -> bool:
        """Whether a person is here to answer."""
        return not self.json and sys.stdin.isatty() and self.watched

    def confirm(self, question: str, *, yes: bool) -> bool:
        """Whether to go on: ``--yes``, or a person answering; a program without ``--yes`` is told to give it."""
        if yes:
            return True
        if not self.attended:
            from satchel.errors import InvalidInput

            raise InvalidInput(f"nobody is here to answer: {question}", hint="Say it with --yes.")
        return click.confirm(clean(question), err=True)


def pasted(word: str) -> str:
    """``word`` as a shell has to be given it, in a command that we tell a person to run: others name files and remotes,
    and a name may hold a blank, begin with a dash, or be a command itself."""
    import shlex

    return shlex.quote(f"./{word}" if word.startswith("-") else word)


def clean(text: str, *, looks: bool = False) -> str:
    """``text`` without control characters (tab and newline stay) and without marks that reorder a line.

    With ``looks`` colours and weights stay: for lines that are put together.
    """
    if looks and "\x1b" in text:
        # Every other piece is what a look is written with.
        pieces = _LOOK.split(text)
        pieces[::2] = map(clean, pieces[::2])
        return "".join(pieces)
    return text.translate(_CONTROLS)


def one_line(text: str) -> str:
    """The same on one line: what somebody called himself must not look like a line of ours."""
    return " ".join(clean(text).split())


def ago(time_text: str | None, now: float | None = None) -> str:
    """An RFC 3339 time as people say it: ``2 days ago``. Empty for ``None``."""
    if time_text is None:
        return ""
    import datetime as dt

    then = dt.datetime.fromisoformat(time_text).timestamp()
    seconds = int((time.time() if now is None else now) - then)
    if seconds < 45:
        return "just now"
    for unit, length in (("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            return f"{plural(seconds // length, unit)} ago"
    return "1 minute ago"


def size(count: int) -> str:
    """Bytes as people read them, in powers of 1,000: ``412 KB``, ``3.1 MB``."""
    if count < 1_000:
        return f"{count} B"
    amount = float(count)
    for unit in ("KB", "MB", "GB", "TB"):
        amount /= 1_000
        if amount < 999.5:
            return f"{amount:.1f} {unit}" if amount < 99.95 and unit != "KB" else f"{amount:.0f} {unit}"
    return f"{amount:,.0f} TB"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """``1 file``, ``1,812 files``."""
    return f"{count:,} {noun if count == 1 else (many or noun + 's')}"


def shown_path(path: Path, cwd: Path) -> str:
    """A path as a terminal can open it: relative to where the person stands when that is shorter."""
    relative = os.path.relpath(path, cwd)
    return relative if not relative.startswith("../../") else str(path)


def error_data(code: str, message: str, hint: str, status: int, facts: Mapping[str, object]) -> dict[str, object]:
    """The one shape of an error with ``--json``: its facts in camelCase, as all keys."""
    told = {_camel(name): value for name, value in facts.items()}
    return {"error": {"code": code, "message": message, "hint": hint, "exitStatus": status, **told}}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _columns(stream: IO[str]) -> int:
    try:
        told = os.get_terminal_size(stream.fileno()).columns  # 0: a terminal that was told no size
    except (OSError, ValueError):
        told = 0
    return max(told, 20) if told else DEFAULT_COLUMNS


def _is_utf8(stream: IO[str]) -> bool:
    return (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "") in ("utf8", "utf8sig")


def _utf8(text: str) -> str:
    """``text``, with bytes of a name that are no UTF-8 escaped: as JSON too would have them."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _ascii(text: str) -> str:
    return text.translate(_ASCII).encode("ascii", "replace").decode()
