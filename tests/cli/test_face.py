from __future__ import annotations

import fcntl
import io
import json
import os
import struct
import termios
from pathlib import Path

import pytest

from satchel.cli.face import Face, ago, clean, plural, shown_path, size
from satchel.config.machine import Machine
from satchel.errors import InvalidInput


class Stream(io.TextIOWrapper):
    """A text stream that says of itself what a test wants."""

    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        self.bytes = io.BytesIO()
        self.terminal = terminal
        super().__init__(self.bytes, encoding=encoding, errors="strict", write_through=True)

    def isatty(self) -> bool:
        return self.terminal

    @property
    def text(self) -> str:
        return self.bytes.getvalue().decode(self.encoding)


def a_face(*, terminal: bool = False, encoding: str = "utf-8", columns: int = 80, **how: object) -> Face:
    out, err = Stream(terminal=terminal, encoding=encoding), Stream(terminal=terminal, encoding=encoding)
    no_color = bool(how.pop("no_color", False))
    return Face(Machine(no_color=no_color), out=out, err=err, columns=columns, cwd=Path("/"), **how)  # type: ignore[arg-type]


def out(face: Face) -> str:
    assert isinstance(face._out, Stream)
    return face._out.text


def err(face: Face) -> str:
    assert isinstance(face._err, Stream)
    return face._err.text


def test_json_is_the_only_thing_on_stdout() -> None:
    face = a_face(json=True)
    face.line("for people")
    face.note("for people")
    face.answer({"path": "a…b"}, lambda: face.line("never"))
    assert json.loads(out(face)) == {"path": "a…b"}
    assert err(face) == ""


def test_json_stays_valid_where_stdout_is_not_utf_8() -> None:
    face = a_face(json=True, encoding="ascii")
    face.answer({"path": "naïve › 語"})
    assert json.loads(out(face)) == {"path": "naïve › 語"}


def test_notes_go_to_stderr_when_piped_so_that_stdout_is_the_answer_alone() -> None:
    face = a_face()
    face.line("answer")
    face.note("2 of 14")
    assert (out(face), err(face)) == ("answer\n", "2 of 14\n")


def test_quiet_keeps_answers_and_warnings_and_drops_notes() -> None:
    face = a_face(terminal=True, quiet=True)
    face.line("answer")
    face.note("note")
    face.warn("danger")
    assert (out(face), err(face)) == ("answer\n", "satchel: danger\n")


def test_signs_become_ascii_where_the_terminal_has_no_utf_8() -> None:
    face = a_face(terminal=True, encoding="ascii")
    face.line("Runbook › Rollback · 2 days … 語")
    assert out(face) == "Runbook > Rollback - 2 days ... ?\n"


@pytest.mark.parametrize(
    ("how", "coloured"),
    [
        ({"terminal": True}, True),
        ({"terminal": False}, False),
        ({"terminal": True, "no_color": True}, False),
        ({"terminal": True, "no_color": True, "color": "always"}, True),
        ({"terminal": False, "color": "always"}, True),
        ({"terminal": True, "color": "never"}, False),
    ],
)
def test_colour_follows_the_option_then_no_color_then_the_terminal(how: dict[str, object], coloured: bool) -> None:
    assert (a_face(**how).bold("x") != "x") is coloured  # type: ignore[arg-type]


def test_stored_text_cannot_move_the_cursor_or_reorder_a_line() -> None:
    assert clean("a\x1b[2Jb\x9bc\u202ed\te\n") == "a�[2Jb�c�d\te\n"


def test_no_line_of_a_terminal_moves_the_cursor_whoever_made_it_and_a_program_gets_it_as_it_is() -> None:
    seen, piped = a_face(terminal=True, columns=200), a_face()
    plain = a_face(terminal=True, no_color=True)
    for face in (seen, piped, plain):
        face.line(f"{face.bold('Key')} a\x1b[2Jb\x9bc")
        face.warn("\x1b]0;title\x07")
    assert out(seen) == "\x1b[1mKey\x1b[0m a\ufffd[2Jb\ufffdc\n"
    assert err(seen) == "satchel: \ufffd]0;title\ufffd\n"
    assert out(piped) == "Key a\x1b[2Jb\x9bc\n"
    assert out(plain) == "Key a\ufffd[2Jb\ufffdc\n"


def test_raw_text_is_exact_when_piped_and_clean_on_a_terminal() -> None:
    piped, watched = a_face(), a_face(terminal=True)
    for face in (piped, watched):
        face.raw("\x1b[31mred\r\n")
    assert out(piped) == "\x1b[31mred\r\n"
    assert "\x1b" not in out(watched)


def test_lines_are_cut_to_the_terminal_and_whole_when_piped() -> None:
    assert a_face(terminal=True, columns=10).fit("word " * 10) == "word word…"
    assert a_face(columns=10).fit("word " * 10) == ("word " * 10).strip()


@pytest.mark.parametrize(("told", "taken"), [(0, 80), (7, 20), (132, 132)])
def test_a_terminal_that_knows_no_width_has_the_usual_one(told: int, taken: int) -> None:
    main, terminal = os.openpty()  # what `docker exec -t`, a serial line, or an agent's terminal is, says 0 columns
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 0, told, 0, 0))
        with open(terminal, "w", encoding="utf-8", closefd=False) as stream:
            assert Face(Machine(), out=stream, err=stream, cwd=Path("/")).columns == taken
    finally:
        os.close(terminal)
        os.close(main)


def test_nobody_at_the_terminal_is_told_to_say_yes() -> None:
    face = a_face()
    assert face.confirm("Delete?", yes=True)
    with pytest.raises(InvalidInput, match="Delete"):
        face.confirm("Delete?", yes=False)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "just now"), (50, "1 minute ago"), (150, "2 minutes ago"), (7_200, "2 hours ago"), (86_400, "1 day ago"),
     (40 * 86_400, "1 month ago"), (800 * 86_400, "2 years ago"), (-30, "just now")],
)  # fmt: skip
def test_times_are_said_as_people_say_them(seconds: int, text: str) -> None:
    assert ago("1970-01-12T13:46:40.000Z", now=1_000_000 + seconds) == text


def test_a_time_nobody_knows_is_not_said() -> None:
    assert ago(None) == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1 KB"), (412_345, "412 KB"), (3_140_000, "3.1 MB"), (999_600, "1.0 MB"),
     (50_000_000_000, "50.0 GB"), (123_000_000_000, "123 GB"), (5_000_000_000_000_000, "5,000 TB")],
)  # fmt: skip
def test_sizes_are_in_powers_of_a_thousand(count: int, text: str) -> None:
    assert size(count) == text


def test_counts_agree_with_their_noun() -> None:
    assert (plural(1, "file"), plural(1_812, "file"), plural(2, "entry", "entries")) == (
        "1 file",
        "1,812 files",
        "2 entries",
    )


def test_a_path_is_shown_so_that_it_opens_from_where_one_stands() -> None:
    root = Path("/home/sam/acme")
    assert shown_path(root / "docs/a.md", root) == "docs/a.md"
    assert shown_path(root / "docs/a.md", root / "docs") == "a.md"
    assert shown_path(root / "a.md", root / "docs") == "../a.md"
    assert shown_path(root / "a.md", Path("/var/log")) == "/home/sam/acme/a.md"


def test_a_diff_shows_no_control_character_on_a_terminal_and_every_one_to_a_program() -> None:
    line = "+\u202eharmless\x1b[2K\u009b2K"
    for terminal, shown in ((True, "+\ufffdharmless\ufffd[2K\ufffd2K\n"), (False, f"{line}\n")):
        face = a_face(terminal=terminal, color="never")
        face.change(line)
        assert out(face) == shown
