from __future__ import annotations

import pytest

from satchel.objects.listing import Entry
from satchel.sync.plan import plan
from satchel.sync.session import Direction, Steps, Strategy, choose
from tests.sync.test_plan import A, B, C


def steps(
    base: dict[str, Entry],
    local: dict[str, Entry],
    cloud: dict[str, Entry],
    *,
    direction: Direction = Direction.BOTH,
    strategy: Strategy = Strategy.MANUAL,
    trust: bool = False,
) -> Steps:
    made = plan(base, local, cloud)
    return choose(made, base, local, cloud, direction=direction, strategy=strategy, trust=trust)


def again(
    done: Steps, base: dict[str, Entry], local: dict[str, Entry], cloud: dict[str, Entry], **how: object
) -> Steps:
    """The steps of the next sync, when nothing changed but what ``done`` did."""
    local, cloud = dict(local), dict(cloud)
    for tree, made in ((local, done.pull), (cloud, done.push)):
        for path, entry in made.items():
            tree.pop(path, None)
            if entry is not None:
                tree[path] = entry
    base = dict(cloud)
    for path, entry in done.held.items():
        base.pop(path, None)
        if entry is not None:
            base[path] = entry
    return steps(base, local, cloud, **how)  # type: ignore[arg-type]


def test_both_ways_at_once_sends_and_fetches() -> None:
    done = steps({"a": A, "b": A}, {"a": B, "b": A}, {"a": A, "b": B})
    assert (done.push, done.pull, done.held) == ({"a": B}, {"b": B}, {})


@pytest.mark.promise("P3")
@pytest.mark.parametrize("direction", Direction)
def test_a_conflict_is_held_and_stays_a_conflict_until_somebody_decides(direction: Direction) -> None:
    sides = ({"a": A}, {"a": B}, {"a": C})
    done = steps(*sides, direction=direction)
    assert (done.push, done.pull, list(done.conflicts)) == ({}, {}, ["a"])
    assert again(done, *sides, direction=direction).conflicts.keys() == {"a"}


def test_what_one_direction_leaves_the_other_does_later() -> None:
    sides = ({"a": A, "b": A}, {"a": B, "b": A}, {"a": A, "b": B})
    sent = steps(*sides, direction=Direction.TO_CLOUD)
    assert (sent.push, sent.pull, sent.waiting_pull) == ({"a": B}, {}, 1)
    assert again(sent, *sides).pull == {"b": B}
    fetched = steps(*sides, direction=Direction.FROM_CLOUD)
    assert (fetched.push, fetched.pull, fetched.waiting_push) == ({}, {"b": B}, 1)
    assert again(fetched, *sides).push == {"a": B}


@pytest.mark.parametrize(("strategy", "push", "pull"), [(Strategy.LOCAL, {"a": B}, {}), (Strategy.CLOUD, {}, {"a": C})])
def test_a_strategy_decides_conflicts_and_only_them(
    strategy: Strategy, push: dict[str, Entry], pull: dict[str, Entry]
) -> None:
    done = steps({"a": A}, {"a": B}, {"a": C}, strategy=strategy)
    assert (done.push, done.pull, done.conflicts) == (push, pull, {})


def test_a_decision_made_in_the_other_direction_is_kept_for_the_next_sync() -> None:
    sides = ({"a": A}, {"a": B}, {"a": C})
    done = steps(*sides, direction=Direction.TO_CLOUD, strategy=Strategy.CLOUD)
    assert again(done, *sides).pull == {"a": C}
    done = steps(*sides, direction=Direction.FROM_CLOUD, strategy=Strategy.LOCAL)
    assert again(done, *sides).push == {"a": B}


def test_a_file_that_tools_execute_waits_for_trust_and_is_not_taken_for_deleted() -> None:
    path = ".vscode/tasks.json"
    sides: tuple[dict[str, Entry], ...] = ({}, {}, {path: A})
    done = steps(*sides)
    assert (done.pull, done.untrusted) == ({}, (path,))
    following = again(done, *sides)
    assert (following.push, following.untrusted) == ({}, (path,))
    assert again(done, *sides, trust=True).pull == {path: A}


@pytest.mark.parametrize(("mine", "theirs"), [("Notes.md", "notes.md"), ("a", "a/b.md"), ("a/b.md", "a")])
def test_names_that_cannot_stand_together_wait_on_both_sides(mine: str, theirs: str) -> None:
    sides: tuple[dict[str, Entry], ...] = ({}, {mine: A}, {theirs: B})
    done = steps(*sides)
    assert (done.push, done.pull) == ({}, {})
    assert done.name_clashes.keys() == {mine, theirs}
    assert again(done, *sides).name_clashes.keys() == {mine, theirs}


def test_a_rename_that_changes_only_case_is_no_clash() -> None:
    done = steps({"A.md": A}, {"a.md": A}, {"A.md": A})
    assert done.push == {"A.md": None, "a.md": A}
    done = steps({"A.md": A}, {"A.md": A}, {"a.md": A})
    assert done.pull == {"A.md": None, "a.md": A}
