"""Names that no folder can hold beside others: who has to wait, found in a time that is linear in the names."""

from __future__ import annotations

import itertools
import random

import pytest

from satchel.objects.paths import tree_problems
from satchel.sync import naming
from satchel.sync.naming import name_clashes
from tests.sync.test_plan import A

NAMES = ("a", "A", "a/b", "A/b", "a/B", "a/b/c", "b", "\u00e9", "\u00c9/a", "b/a")


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_added_waits_where_it_clashes_with_what_was_there(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(40):
        tree: dict[str, object] = {}
        for path in chance.sample(NAMES, 5):
            if not tree_problems([*tree, path]):
                tree[path] = A
        added = [path for path in chance.sample(NAMES, 4) if path not in tree]
        gone = chance.sample(sorted(tree), min(1, len(tree)))
        found = name_clashes(dict.fromkeys(tree, A), {**dict.fromkeys(added, A), **dict.fromkeys(gone)})
        kept = [path for path in tree if path not in gone]
        beside = {other for other in added if any(tree_problems((path, other)) for path in kept)}
        assert beside <= found.keys() <= set(added)
        assert not tree_problems([*kept, *(path for path in added if path not in found)])
        assert all(found[one] for one in beside)


def test_thousands_of_names_that_differ_in_case_are_not_compared_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count(1)
    monkeypatch.setattr(naming, "tree_problems", lambda paths: (next(looks), tree_problems(paths))[1])
    here = {f"notes/{number}.md": A for number in range(500)}
    found = name_clashes(here, {path.replace("notes", "Notes"): A for path in here})
    assert len(found) == 500
    assert found["Notes/7.md"] == "no folder can hold it beside notes/7.md"
    assert next(looks) == 2
