"""What every verb has in common: the options all of them take, two depths of help, one way to fail.

A verb is a function taking a ``Face`` and its own parameters, and returning its exit status (``None`` is 0). The
first line of its docstring is its short help (``-h``); the rest, its examples and its exit statuses are the long help
(``--help``).
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click
from click.core import ParameterSource
from click.types import StringParamType

from satchel.cli.face import Face, pasted
from satchel.config.machine import machine
from satchel.errors import NotAFolder, SatchelError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

STATUSES: dict[int, str] = {
    0: "done",
    1: "failed, or nothing by that name",
    2: "the command line or a value in it is wrong",
    3: "in step except for what waits for you, or somebody else changed it first",
    4: "sign-in needed",
    5: "refused",
    6: "away: try again later",
    130: "stopped with Ctrl-C",
}
"""Every exit status of every verb."""


def short_help(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    """``-h``: usage, one line, the options."""
    if wanted and not ctx.resilient_parsing:
        ctx.meta["satchel.short"] = True
        click.echo(ctx.get_help())
        ctx.exit()


def long_help(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    """``--help``: everything, with examples."""
    if wanted and not ctx.resilient_parsing:
        click.echo(ctx.get_help())
        ctx.exit()


def help_options() -> list[click.Parameter]:
    """The two help flags."""
    flag = {"is_flag": True, "expose_value": False, "is_eager": True}
    return [
        click.Option(["-h"], callback=short_help, help="Short help.", **flag),
        click.Option(["--help"], callback=long_help, help="Long help, with examples.", **flag),
    ]


class Place(StringParamType):
    """Text that names a file or a folder, so that a shell completes it."""

    _KINDS: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("PATH", "PATHS", "ARTIFACT", "FILE"), "file"),
        "FOLDER": "dir",
    }

    def __init__(self, kind: str) -> None:
        self.kind = kind

    @classmethod
    def of(cls, param: click.Parameter) -> Place | None:
        """By what the help calls it."""
        called = (param.metavar or param.name or "").upper().strip(".")
        return cls(cls._KINDS[called]) if param.type is click.STRING and called in cls._KINDS else None

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem  # only where a shell asks

        return [CompletionItem(incomplete, type=self.kind)]


class LocalName(StringParamType):
    """Text that names a project of this machine, which a shell completes from the machine's list."""

    @classmethod
    def of(cls, param: click.Parameter) -> LocalName | None:
        """An option ``-p``, or an argument of ``use`` or ``link``."""
        own = "-p" in param.opts or (isinstance(param, click.Argument) and param.name in ("project", "other"))
        return cls() if own and param.type is click.STRING else None

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem  # only where a shell asks

        from satchel.worktree.registry import Registry

        try:
            known = Registry(machine().state_dir / "projects.json").registered()
        except SatchelError:  # a command that is run says what is wrong
            return []
        return [CompletionItem(name) for name in sorted({one.slug for one in known}) if name.startswith(incomplete)]


class VerbCommand(click.Command):
    """A verb, or one word of a verb such as ``key create``."""

    def __init__(
        self, *args: Any, examples: Sequence[tuple[str, str]], gives: str, statuses: Sequence[int], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.add_help_option = False  # ours are `-h` and `--help`, of two depths
        self.examples = tuple(examples)
        self.gives = gives
        self.statuses = tuple(statuses)
        self.params.extend(help_options())
        for param in self.params:
            param.type = Place.of(param) or LocalName.of(param) or param.type

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        summary, _, rest = (self.help or "").partition("\n")
        self.format_usage(ctx, formatter)
        _paragraph(formatter, summary)
        if ctx.meta.get("satchel.short"):
            self.format_options(ctx, formatter)
            return
        for paragraph in rest.strip().split("\n\n"):
            _paragraph(formatter, " ".join(paragraph.split()))
        self.format_options(ctx, formatter)
        with formatter.section("Examples"):
            for command, meaning in self.examples:
                formatter.write(f"{' ' * formatter.current_indent}{command}\n")
                formatter.write(f"{' ' * (formatter.current_indent + 4)}{meaning}\n")
        with formatter.section("Exit statuses"):
            formatter.write_dl([(str(status), STATUSES[status]) for status in (*self.statuses, 130)])


class VerbGroup(click.Group):
    """A verb of several words: ``remote add``, ``key list``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_help_option = False
        self.params.extend(help_options())

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(unknown_word(args[0], self.list_commands(ctx), f"satchel {self.name}"), ctx=ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # as written, not sorted: create before revoke


def unknown_word(word: str, known: Sequence[str], after: str) -> str:
    """What to say about a verb that is none, with the likely ones."""
    import difflib  # only for a misspelt verb

    likely = difflib.get_close_matches(word, known, n=2, cutoff=0.6)
    meant = f". Did you mean {' or '.join(f'`{after} {name}`' for name in likely)}?" if likely else ""
    return f"`{after} {word}` is not a command{meant}"


def common_options() -> list[click.Parameter]:
    """The options of every verb."""
    return [
        click.Option(["--json"], is_flag=True, help="Print one JSON value; the shapes are in docs/reference/cli.md."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print the answer alone, and errors."),
        click.Option(
            ["--color"],
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            help="Colours: on a terminal unless NO_COLOR is set, always, or never.",
        ),
        click.Option(["-C", "start_in"], metavar="FOLDER", help="Act as if started in FOLDER."),
        click.Option(["--debug"], is_flag=True, expose_value=False, help="Show a traceback when something fails."),
    ]


def verb(
    name: str, *, examples: Sequence[tuple[str, str]], gives: str, statuses: Sequence[int] = (0, 1, 2)
) -> Callable[[Callable[..., int | None]], VerbCommand]:
    """Make a function a verb. Options and arguments are given with click's decorators, below this one.

    ``gives`` says what ``--json`` prints, for the reference.
    """

    def decorate(function: Callable[..., int | None]) -> VerbCommand:
        def run(*, json: bool, quiet: bool, color: str, start_in: str | None, **parameters: Any) -> int:
            here = None if start_in is None else _started_in(start_in)
            face = Face(machine(), json=json, quiet=quiet, color=color, cwd=here)
            try:
                return function(face, **parameters) or 0
            except BrokenPipeError:
                # The reader has what it wanted (`satchel search x | head -1`). Nothing may write to the pipe at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 0

        own: list[click.Parameter] = list(reversed(getattr(function, "__click_params__", [])))
        return VerbCommand(
            name,
            callback=run,
            params=[*own, *common_options()],
            help=inspect.cleandoc(function.__doc__ or ""),
            short_help=(function.__doc__ or "").partition("\n")[0],
            examples=examples,
            gives=gives,
            statuses=statuses,
        )

    return decorate


def again(**changed: str | None) -> str:
    """The command that runs, as a person types it once more with these options otherwise; ``None`` leaves one out."""
    from shlex import quote

    context = click.get_current_context()
    words = [context.command_path]
    for param in context.command.params:
        name = param.name or ""
        if name in changed or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        if isinstance(param, click.Argument):
            words.append(pasted(context.params[name]))
        elif isinstance(param, click.Option):
            words.append(max(param.opts, key=len))
            words += [] if param.is_flag else [quote(str(context.params[name]))]
    words += [f"--{name} {quote(value)}" for name, value in changed.items() if value is not None]
    return " ".join(words)


def _started_in(folder: str) -> Path:
    """Go there, for whatever reads a relative path, and say where that is, through whatever links."""
    if not os.path.isdir(folder):
        raise NotAFolder(f"{folder} is not a folder")
    os.chdir(folder)
    return Path.cwd()


def _paragraph(formatter: click.HelpFormatter, text: str) -> None:
    if text:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)
