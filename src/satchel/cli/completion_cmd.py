"""``satchel completion``: the script that lets a shell complete verbs, options and agents."""

from __future__ import annotations

import click

from satchel.cli.face import Face
from satchel.cli.verb import verb


@verb(
    "completion",
    examples=[
        ("satchel completion bash >> ~/.bashrc", "Complete in every new bash."),
        ("satchel completion zsh >> ~/.zshrc", "In every new zsh; below the line that runs compinit."),
        ("satchel completion fish > ~/.config/fish/completions/satchel.fish", "The same for fish."),
    ],
    gives="`shell`, `script`.",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(face: Face, shell: str) -> None:
    """Print a completion script for your shell.

    The script asks `satchel` itself for the words, so it stays right when Satchel is updated.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    script = kind(root, {}, "satchel", "_SATCHEL_COMPLETE").source()
    # click's script for fish takes a comma in a help text or a path for the end of it.
    script = script.replace('string split "," $completion', 'string split -m 1 "," $completion')
    face.answer({"shell": shell, "script": script}, lambda: face.line(script))
