from __future__ import annotations

import re
from pathlib import Path

from satchel.cli.reference import reference
from satchel.cli.verbs import VERBS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_what_the_verbs_say() -> None:
    written = (DOCS / "reference/cli.md").read_text()
    assert written == reference(), "write it anew: python -m satchel.cli.reference > docs/reference/cli.md"


def test_every_verb_is_in_the_guide() -> None:
    guide = "\n".join(path.read_text() for path in (DOCS / "guide").glob("*.md"))
    missing = {name for name in VERBS if not re.search(rf"\bsatchel {name}\b", guide)}
    assert missing == set()
