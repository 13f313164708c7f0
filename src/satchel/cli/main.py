"""``satchel``: finds the verb, loads it by name, runs it, and ends with a documented status.

Whatever goes wrong is said in three parts (what, the next step, the code) and never as a traceback unless
``--debug`` or SATCHEL_DEBUG asks for one.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from satchel import __version__
from satchel.cli.verb import STATUSES, VerbGroup, unknown_word
from satchel.cli.verbs import SECTIONS, VERBS
from satchel.errors import InternalError, InvalidInput, SatchelError, ServerLied

INTERRUPTED = 130
_WRONG_TYPE = (TypeError, ValueError, AttributeError, LookupError, OverflowError)
"""What comes of a value that is of another type, or beyond what it can be."""


class Satchel(VerbGroup):
    """The verbs, each imported when it is asked for and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = VERBS.get(cmd_name)
        if known is None:
            return None
        command = importlib.import_module(known.module).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(unknown_word(args[0], list(VERBS), "satchel"), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_usage(ctx, formatter)
        formatter.write("\n  The context your agents carry: on your own disk by default, shared when you say so.\n")
        for title, verbs in SECTIONS:
            with formatter.section(title):
                formatter.write_dl([(verb.name, verb.summary) for verb in verbs])
        if not ctx.meta.get("satchel.short"):
            with formatter.section("Exit statuses"):
                formatter.write_dl([(str(status), meaning) for status, meaning in STATUSES.items()])
        formatter.write('\nTry:  satchel init      then:  satchel search "deployment strategy"\n')
        formatter.write("Help on one command:  satchel search --help\n")


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"satchel {__version__}")
        ctx.exit()


satchel = Satchel(
    "satchel",
    params=[
        click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."
        ),
    ],
    no_args_is_help=True,
)


def run(argv: Sequence[str]) -> int:
    """Run one command line and give its exit status; everything to be said has been said."""
    words = argv[: argv.index("--")] if "--" in argv else argv
    try:
        status = satchel.main(list(argv), prog_name="satchel", standalone_mode=False)
        sys.stdout.flush()
    except SatchelError as error:
        return _failed(error, words)
    except click.Abort:
        return _say("stopped", "Nothing is half done: run the same command again.", "", INTERRUPTED, words)
    except NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        return 0
    except click.ClickException as error:
        return _misused(error, words)
    except Exception as error:  # noqa: BLE001 -- the last resort: a defect is reported, not dumped
        return _unexpected(error, words)
    return status if isinstance(status, int) else 0


def main() -> NoReturn:
    """The console script. Never returns: what was written is flushed, and the process ends at once.

    Taking the interpreter apart at the end took 20 to 30 ms of a command that lives for a tenth of a second
    (``bench/startup.py``); what has to be closed is closed by its verb.
    """
    _be_at_home_anywhere()
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # outside of click: while modules load
        status = INTERRUPTED
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads any more
    os._exit(status)


def _be_at_home_anywhere() -> None:
    """Have all three streams, and UTF-8 for the names of files, whatever we were started with."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by `>&-`: the next file that is opened would be it
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # it stays open
    if sys.getfilesystemencoding() != "utf-8":
        # In a Latin-1 locale every accent would make another name of a file, which a sync would carry out as a rename.
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606  # itself


def _failed(error: SatchelError, words: Sequence[str]) -> int:
    _trace(words)
    return _say(error.message, error.hint, error.code, error.exit_status, words, error.facts)


def _misused(error: click.ClickException, words: Sequence[str]) -> int:
    message = error.format_message().rstrip(".")
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"See `{error.ctx.command_path} -h`."
    return _say(message, hint, InvalidInput.code, InvalidInput.exit_status, words)


def _unexpected(error: Exception, words: Sequence[str]) -> int:
    _trace(words)
    if isinstance(error, UnicodeEncodeError) and (broken := [word for word in words if not _is_utf8(word)]):
        what = f"{broken[0]!a} is not valid UTF-8"
        return _say(what, InvalidInput.default_hint, InvalidInput.code, InvalidInput.exit_status, words)
    if isinstance(error, OSError) and error.strerror:
        from satchel.worktree import durable

        refused = durable.refused(error, "")
        what = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        if error.errno == errno.ENAMETOOLONG:
            return _say(what, "Name a shorter one.", InvalidInput.code, InvalidInput.exit_status, words)
        return _say(what, refused.hint, refused.code, refused.exit_status, words)
    if _is_of_an_answer(error):
        what = f"the server's answer is not as the protocol has it ({type(error).__name__}: {error})"
        hint = (
            "Check the address, and that client and server are up to date; then tell whoever runs the server.\n"
            "If its answer is sound, it is a defect of this client: run it again with --debug and report what it shows."
        )
        return _say(what, hint, ServerLied.code, ServerLied.exit_status, words)
    return _say(
        f"unexpected {type(error).__name__}: {error}",
        "This is a defect. Run it again with --debug and report what it shows.",
        InternalError.code,
        InternalError.exit_status,
        words,
    )


def _is_of_an_answer(error: Exception) -> bool:
    """Whether what failed had an answer of a server in hands, in which something is of another type than it should.

    Nobody checks all that is only shown: whoever shows it fails, and this looks for what it was at.
    """
    connection = sys.modules.get("satchel.remote.connection")  # local verbs load none
    if connection is None or not isinstance(error, _WRONG_TYPE):
        return False
    import traceback

    for frame, _ in traceback.walk_tb(error.__traceback__):
        for value in frame.f_locals.values():
            values = value if isinstance(value, list | tuple) else (value,)
            if any(isinstance(each, connection.Answered) for each in values):
                return True
    return False


def _is_utf8(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _trace(words: Sequence[str]) -> None:
    # The environment is read here only to see whether a person wants a traceback: settings may be what is broken.
    from satchel.config.machine import machine

    try:
        wanted = "--debug" in words or machine().debug
    except SatchelError:
        wanted = False
    if wanted:
        import traceback

        traceback.print_exc()


def _say(
    message: str, hint: str, code: str, status: int, words: Sequence[str], facts: dict[str, object] | None = None
) -> int:
    from satchel.cli.face import clean, error_data

    try:
        # What goes on and on prints one object a line, its last one too.
        indent = None if "--watch" in words else 2
        if "--json" in words and _printed(error_data(code, message, hint, status, facts or {}), indent):
            return status
        click.echo(f"satchel: {clean(message)}" + (f"   [{code}]" if code else ""), err=True)
        for line in filter(None, hint.splitlines()):
            click.echo(f"  {clean(line)}", err=True)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:
        pass  # what both streams go to is full: the status is all that can be told
    return status


def _printed(data: dict[str, object], indent: int | None) -> bool:
    """Whether what went wrong could be said on stdout."""
    import json

    try:
        print(json.dumps(data, indent=indent, default=str))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
