from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from satchel.cli.get_cmd import _whole
from satchel.cli.reading import Reading
from satchel.context.answers import ContextReader
from satchel.errors import ServerLied
from tests.cli.conftest import Cli


class Liar:
    """Says of every page that there is another one, beginning where ``step`` takes it."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.asked = 0

    def artifact(self, project: str, path: str, *, cursor: str = "1:0", **_: object) -> Any:
        self.asked += 1
        at = int(cursor.partition(":")[0])
        told = {"path": path, "text": "x\n", "lines": [at, at], "totalLines": 9, "truncated": True}
        return {**told, "next": f"{at + self.step}:0"}


@pytest.mark.promise("P8")
@pytest.mark.parametrize("step", [0, 1])
def test_pages_of_an_artifact_that_never_end_are_a_lie(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satchel.cli.get_cmd.MAX_PAGES", 20)
    liar = Liar(step)
    reading = Reading(cast(ContextReader, liar), ["acme"], {}, Path(), lambda: None)
    with pytest.raises(ServerLied, match="do not end"):
        _whole(reading, "a.md")
    assert liar.asked <= 21


def test_a_folder_is_called_one(cli: Cli, here: Path) -> None:
    cli("init")
    for verb in ("get", "outline"):
        ran = cli(verb, "specs", status=1)
        assert "specs is a folder   [artifact.not_found]" in ran.err
