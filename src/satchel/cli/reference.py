"""``docs/reference/cli.md``, written from the verbs themselves: ``python -m satchel.cli.reference`` prints it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from satchel.cli.main import satchel
from satchel.cli.verb import STATUSES, VerbCommand, common_options
from satchel.cli.verbs import SECTIONS

_INTRODUCTION = """\
# Commands

Generated from the commands themselves; a test keeps the two equal. `satchel VERB -h` is the short help, `--help` the
long one.

Answers go to stdout. What is said about them (totals, next steps, progress, errors) goes to stderr unless a person
reads both on one terminal. On a terminal, output is made for people; piped, it is one line per row, columns separated
by tabs.

`--json` prints exactly one JSON value on stdout: the answer described with each command, or, where the command fails,

```json
{"error": {"code": "artifact.not_found", "message": "...", "hint": "...", "exitStatus": 1}}
```

with small facts of the error beside these. Keys are camelCase, sizes bytes, times RFC 3339 UTC. Answers may grow keys;
they never change or lose one. Every code has a page in [errors](../errors/README.md); a command stopped with Ctrl-C has
none.
"""


def reference() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, "## Exit statuses\n", "| status | meaning |\n|---|---|"]
    parts.append("\n".join(f"| {status} | {meaning} |" for status, meaning in STATUSES.items()) + "\n")
    parts.append("## Options of every command\n")
    parts.append(_options(common_options()))
    for title, verbs in SECTIONS:
        parts.append(f"## {title}\n")
        for verb in verbs:
            command = satchel.get_command(click.Context(satchel, info_name="satchel"), verb.name)
            assert command is not None
            parts += (_command(name, one) for name, one in _words(verb.name, command))
    return "\n".join(parts)


def _words(name: str, command: click.Command) -> Iterator[tuple[str, VerbCommand]]:
    """A verb, or the several words of one."""
    if not isinstance(command, click.Group):
        assert isinstance(command, VerbCommand)
        yield name, command
        return
    ctx = click.Context(command, info_name=name)
    for word in command.list_commands(ctx):
        one = command.get_command(ctx, word)
        assert one is not None
        yield from _words(f"{name} {word}", one)


def _command(name: str, command: VerbCommand) -> str:
    summary, _, rest = (command.help or "").partition("\n")
    usage = " ".join(["satchel", name, *command.collect_usage_pieces(click.Context(command, info_name=name))])
    lines = [f"### satchel {name}\n", f"{summary}\n", f"```\n{usage}\n```\n"]
    lines += [f"{' '.join(paragraph.split())}\n" for paragraph in rest.strip().split("\n\n") if paragraph.strip()]
    common = {parameter.name for parameter in common_options()}
    own = [one for one in command.params if isinstance(one, click.Option) and one.name not in common | {"h", "help"}]
    if own:
        lines.append(_options(own))
    lines.append("Examples:\n")
    lines += ["```sh", *(f"{example}\n#   {meaning}" for example, meaning in command.examples), "```\n"]
    lines.append(f"`--json`: {command.gives}\n")
    lines.append(f"Exit statuses: {', '.join(str(status) for status in (*command.statuses, 130))}.\n")
    return "\n".join(lines)


def _options(options: list[click.Parameter] | list[click.Option]) -> str:
    rows = ["| option | meaning |", "|---|---|"]
    for option in options:
        assert isinstance(option, click.Option)
        names = ", ".join(f"`{name}`" for name in option.opts)
        takes = "" if option.is_flag else f" {_takes(option)}"
        rows.append(f"| {names}{takes} | {(option.help or '').replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def _takes(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    return {"integer range": "NUMBER", "integer": "NUMBER"}.get(option.type.name, "TEXT")


if __name__ == "__main__":
    click.echo(reference(), nl=False)
