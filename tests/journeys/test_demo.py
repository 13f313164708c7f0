"""``make demo`` does what it says, on a real folder, and notices when something does not hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "scripts/demo.py"
pytestmark = pytest.mark.system


@pytest.mark.journey(1)
@pytest.mark.journey(2)
@pytest.mark.journey(3)
@pytest.mark.journey(4)
@pytest.mark.journey(5)
def test_the_demo_walks_the_five_journeys_and_leaves_the_folder_as_it_was(sample_project: Path) -> None:
    before = {path: path.read_bytes() for path in sample_project.rglob("*") if path.is_file()}
    done = subprocess.run([sys.executable, str(DEMO), str(sample_project)], capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stdout + done.stderr
    for number in range(1, 6):
        assert f"\nJourney {number}: " in done.stdout
    assert "checks held" in done.stdout
    assert {path: path.read_bytes() for path in sample_project.rglob("*") if path.is_file()} == before


def test_the_demo_fails_aloud(sample_project: Path, tmp_path: Path) -> None:
    text = DEMO.read_text().replace('story.check(made["status"] == 201', "story.check(False")
    broken = tmp_path / "demo.py"
    broken.write_text(text.replace('story.check(answer["hits"] or not made["documents"]', "story.check(False"))
    done = subprocess.run(
        [sys.executable, str(broken), str(sample_project)], capture_output=True, text=True, timeout=220
    )
    assert done.returncode == 1
    assert "The demo failed: a title of the folder is found" in done.stderr
    assert subprocess.run([sys.executable, str(DEMO), "nowhere"], capture_output=True).returncode == 2
