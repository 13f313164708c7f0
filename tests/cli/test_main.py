from __future__ import annotations

import errno
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from satchel.cli import main
from satchel.cli.verb import VerbCommand
from satchel.cli.verbs import VERBS
from satchel.remote.connection import Answered, Connection
from tests.cli.conftest import SATCHEL, Cli, process


def test_help_lists_every_verb_without_loading_any(tmp_path: Path) -> None:
    code = (
        "import sys; from satchel.cli.main import run; run(['--help']);"
        "print([m for m in sys.modules if m.endswith('_cmd')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    for name, verb in VERBS.items():
        assert f"\n  {name} " in done.stdout
        assert verb.summary in done.stdout


def commands(group: click.Group = main.satchel, before: str = "") -> list[tuple[str, VerbCommand]]:
    """Every command with all its words, those of a group that loads them by name too."""
    found: list[tuple[str, VerbCommand]] = []
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if isinstance(command, click.Group):
            found += commands(command, f"{before}{word} ")
        else:
            assert isinstance(command, VerbCommand)
            found.append((before + word, command))
    return found


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_verb_has_json_quiet_two_examples_and_its_exit_statuses(name: str, command: VerbCommand) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--quiet", "--color", "-h", "--help", "--debug", "-C"} <= options
    assert len(command.examples) >= 2
    for example, meaning in command.examples:
        assert example.startswith("satchel ")
        assert meaning.endswith(".")
    assert {0, 2} <= set(command.statuses)
    summary = (command.help or "").splitlines()[0]
    assert summary.endswith(".")


_NAMED = re.compile(r"(?:`|:  |[,;] )satchel ([a-z]+(?: [a-z-]+)*)")
"""Where a hint or a page says a command: between backticks, behind two blanks, or as the next of several."""


def test_every_command_that_a_message_or_a_page_names_exists_with_its_options() -> None:
    known = {name: {option for each in one.params for option in each.opts} for name, one in commands()}
    groups = {" ".join(name.split()[:size]) for name in known for size in (1, 2)} - known.keys()
    root = Path(__file__).parents[2]
    strange = []
    for file in [*root.glob("src/**/*.py"), *root.glob("docs/**/*.md"), *root.glob("*.md")]:
        for said in _NAMED.findall(file.read_text()):
            name, *words = said.split()
            while name in groups and words and not words[0].startswith("-"):
                name = f"{name} {words.pop(0)}"
            options = {word for word in words if word.startswith("--")}
            if name not in known.keys() | groups or not options <= known.get(name, options):
                strange.append(f"{file.relative_to(root)}: satchel {said}")
    assert strange == []


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_examples_of_a_verb_are_command_lines_it_takes(name: str, command: VerbCommand) -> None:
    import shlex

    for example, _ in command.examples:
        words = shlex.split(re.split("[<>]", example)[0])[1:]
        if words[: len(name.split())] != name.split():
            continue  # an example may point to a neighbour
        command.make_context(name, words[len(name.split()) :])


def test_short_help_is_shorter_and_long_help_has_examples(cli: Cli) -> None:
    short, long = cli("search", "-h").out, cli("search", "--help").out
    assert len(short) < len(long)
    assert "Examples:" not in short
    assert "Examples:" in long
    assert "Exit statuses:" in long


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serach"], "Did you mean `satchel search`?"),
        (["key", "creat", "x"], "Did you mean `satchel key create`?"),
        (["search", "--limt", "3", "x"], "--limit"),
        (["get"], "Missing argument"),
        (["search", "--limit", "none", "x"], "limit"),
    ],
)
def test_a_misspelt_command_line_is_told_with_the_likely_word(cli: Cli, words: list[str], said: str) -> None:
    ran = cli(*words, status=2)
    assert said in ran.err
    assert "[request.invalid]" in ran.err
    assert ran.out == ""


def test_an_error_says_what_happened_what_to_do_and_its_code(cli: Cli, here: Path) -> None:
    ran = cli("get", "no/such/file.md", status=1)
    first, *rest = ran.err.splitlines()
    assert re.match(r"satchel: .*no/such/file\.md.*   \[artifact\.not_found\]$", first)
    assert rest[0].startswith("  ")
    assert "Traceback" not in ran.err


def test_an_error_with_json_is_one_json_value(cli: Cli, here: Path) -> None:
    ran = cli("get", "no/such/file.md", "--json", status=1)
    error = ran.json["error"]
    assert (error["code"], error["exitStatus"]) == ("artifact.not_found", 1)
    assert error["hint"]
    assert cli("serach", "--json", status=2).json["error"]["code"] == "request.invalid"


def test_an_error_that_ends_a_watch_is_one_line_of_its_json(cli: Cli, here: Path) -> None:
    (line,) = cli("sync", "--watch", "--json", status=2).out.splitlines()
    assert json.loads(line)["error"]["code"] == "folder.not_a_project"


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_traceback_is_shown_to_whoever_asks_for_one(
    how: str, cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "environment":
        monkeypatch.setenv("SATCHEL_DEBUG", "1")
    ran = cli("get", "nothing.md", *(["--debug"] if how == "option" else []), status=1)
    assert "Traceback" in ran.err


def test_a_defect_is_reported_as_one(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satchel.cli.tasks_cmd.open_reading", lambda *_, **__: 1 / 0)
    ran = cli("tasks", status=1)
    assert "[internal.error]" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("whoami", '{"principal": null}'),
        ("projects --remote", '{"items": [{"slug": "a", "version": "x"}], "next": null}'),
        ("tenant members", '{"items": [{"id": 7, "email": [], "name": {}, "tenantRole": 1}], "next": null}'),
        ("search word --remote --all", '{"hits": 7, "total": 1, "query": {"text": "word", "filters": []}}'),
    ],
)
def test_a_wrong_type_in_an_answer_is_the_servers_and_no_defect_of_ours(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, words: str, answer: str
) -> None:
    monkeypatch.setenv("SATCHEL_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SATCHEL_KEY", "stl_live_none")
    monkeypatch.setattr(Connection, "json", lambda *_, **__: json.loads(answer, object_hook=Answered))
    ran = cli(*words.split(), status=1)
    assert "[remote.untrustworthy]" in ran.err
    assert "defect" not in ran.err


@pytest.mark.parametrize("verb", ["get", "outline"])
def test_an_argument_that_is_no_utf8_is_told_without_calling_it_a_defect(here: Path, verb: str) -> None:
    assert process("init", cwd=here).returncode == 0
    done = subprocess.run([*SATCHEL, verb, b"bad\xff.md"], cwd=here, capture_output=True)
    assert done.returncode == 2
    assert b"'bad\\udcff.md' is not valid UTF-8   [request.invalid]" in done.stderr


def test_a_file_that_cannot_be_read_is_told_without_calling_it_a_defect(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_file: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", ".mcp.json")

    (here / ".mcp.json").write_text("{}")
    monkeypatch.setattr(Path, "read_bytes", failing)
    ran = cli("connect", "claude-code", "--yes", status=6)
    assert "Input/output error: .mcp.json" in ran.err
    assert "defect" not in ran.err


@pytest.mark.parametrize(("verb", "status"), [("get", 1), ("outline", 1), ("init", 2)])
def test_a_name_that_no_disk_takes_is_told_for_what_it_is(cli: Cli, here: Path, verb: str, status: int) -> None:
    cli("init")
    ran = cli(verb, "x" * 300, status=status)
    assert "folder.unwritable" not in ran.err
    assert "there is no artifact" in ran.err or "shorter" in ran.err


def test_acting_in_a_folder_that_is_none_is_told(cli: Cli, here: Path) -> None:
    assert "not a folder" in cli("search", "x", "-C", "nowhere", status=2).err


def test_a_file_is_found_from_the_folder_that_is_acted_in_through_a_link(cli: Cli, here: Path, tmp_path: Path) -> None:
    cli("init")
    (tmp_path / "link").symlink_to(here / "runbooks")
    answer = cli("get", "failover.md", "-C", tmp_path / "link", "--json").json
    assert answer["path"] == "runbooks/failover.md"


def test_a_reader_that_closes_the_pipe_early_sees_no_error(here: Path) -> None:
    assert process("init", cwd=here).returncode == 0
    shell = f"{' '.join(SATCHEL)} get README.md | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], cwd=here, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.strip() == "0"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@pytest.mark.parametrize("words", [["tasks", "--json"], ["tasks"], ["nosuch", "--json"]])
def test_what_cannot_be_written_anywhere_is_told_by_the_status(here: Path, words: list[str]) -> None:
    status = 2 if "nosuch" in words else 6
    for redirected, said in ((">/dev/full", "satchel: "), (">/dev/full 2>&1", "")):
        ran = subprocess.run(
            ["sh", "-c", f'"$@" {redirected}', "sh", *SATCHEL, *words], cwd=here, capture_output=True, text=True
        )
        assert (ran.returncode, ran.stderr[:9]) == (status, said)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_defect(here: Path, closed: str) -> None:
    (here / "a.md").write_text("# Deploy\n", encoding="utf-8")
    shell = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *SATCHEL, "search", "deploy"]
    done = subprocess.run(shell, cwd=here, capture_output=True)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def test_a_name_is_what_its_bytes_say_in_any_locale(here: Path) -> None:
    (here / "caf\u00e9.md").write_text("# Deploy\n", encoding="utf-8")
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([*SATCHEL, "search", "deploy"], cwd=here, capture_output=True, check=True, env=plain)
    assert "caf\u00e9.md" in done.stdout.decode()


def test_ctrl_c_ends_with_130_and_says_that_nothing_is_half_done(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("satchel.cli.tasks_cmd.open_reading", interrupted)
    ran = cli("tasks", status=130)
    assert "Nothing is half done" in ran.err
    assert "Traceback" not in ran.err


def test_ctrl_c_while_modules_load_ends_with_130_and_no_traceback() -> None:
    program = (
        "import os, signal, sys\n"
        "if len(sys.argv) == 1: signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Pressed:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "from satchel.cli.start import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    ignoring = ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", program, "--version"]
    assert subprocess.run(ignoring, capture_output=True, text=True).stdout.startswith("satchel ")


def test_next_to_nothing_is_loaded_before_ctrl_c_is_cared_for() -> None:
    program = "import sys; before = set(sys.modules); import satchel.cli.start; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"__future__", "_signal", "gc", "satchel", "satchel.cli", "satchel.cli.start"}


def test_a_question_without_an_end_is_not_repeated_whole(cli: Cli, here: Path) -> None:
    ran = cli("search", "zzqx" * 1_000)
    assert "Nothing found for 'zzqx" in ran.err
    assert all(len(line) < 300 for line in ran.err.splitlines())


def test_a_person_at_a_terminal_sees_blocks_of_the_width_of_the_terminal(here: Path) -> None:
    import fcntl
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    child = subprocess.Popen(
        [*SATCHEL, "search", "red warning"], cwd=here, stdout=follower, stderr=follower, stdin=follower
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    assert child.wait(timeout=30) == 0
    os.close(leader)
    text = shown.decode()
    assert "\x1b[36mspecs/warnings.md:" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert all(len(line) <= 60 for line in plain.splitlines() if not line.startswith(tuple("123456789")))
    assert re.search(r"\d+ of \d+ in \d+ ms · project lighthouse · digest [0-9a-f]{8}", plain)
