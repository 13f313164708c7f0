from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry
from satchel.sync.plan import NEITHER, Clash, Move, Plan, plan


def entry(content: str, mode: str = "100644") -> Entry:
    return Entry(mode, ObjectId(hashlib.sha256(content.encode()).hexdigest()))


A, B, C = entry("a"), entry("b"), entry("c")


SPEC = Path(__file__).parents[2] / "docs/spec/sync.md"
RUN = "100755"
EDITED = {"local": B, "cloud": C}


def became(what: str, side: str) -> dict[str, Entry]:
    """The tree of one side, after ``what`` happened there to the file ``p``."""
    return {
        "same": {"p": A},
        "changed": {"p": EDITED[side]},
        "changed alike": {"p": B},
        "mode changed": {"p": entry("a", RUN)},
        "deleted": {},
        "absent": {},
        "added": {"p": EDITED[side]},
        "added alike": {"p": B},
        "became a folder": {f"p/{side}": EDITED[side]},
        "renamed": {f"q-{side}": A},
    }[what]


def table(first: str) -> list[tuple[str, str, str]]:
    """(folder, cloud, outcome) of each cell of the specification's table that begins with that column."""
    rows = [line for line in SPEC.read_text().splitlines() if line.startswith("|")]
    head = next(number for number, row in enumerate(rows) if row.startswith(f"| folder ↓ cloud → | {first} |"))
    columns = [cell.strip() for cell in rows[head].strip("|").split("|")][1:]
    cells = []
    for row in rows[head + 2 : head + 2 + len(columns)]:
        here, *outcomes = (cell.strip(" *") for cell in row.strip("|").split("|"))
        cells += [(here, there, outcome) for there, outcome in zip(columns, outcomes, strict=True)]
    return cells


WITH_BASE, WITHOUT_BASE = table("same"), table("absent")


def outcome(made: Plan, path: str) -> str:
    for name in ("push", "pull", "both", "merge", "conflicts", "agreed"):
        if path in getattr(made, name):
            return name.removesuffix("s")
    return "follow" if path in {move.source for move in made.moves.values()} else "nothing"


def test_the_table_of_the_specification_is_whole() -> None:
    assert (len(WITH_BASE), len(WITHOUT_BASE)) == (36, 4)


@pytest.mark.parametrize(("here", "there", "expected"), WITH_BASE + WITHOUT_BASE)
def test_each_meeting_of_folder_and_cloud_has_the_outcome_of_the_table(here: str, there: str, expected: str) -> None:
    base = {} if (here, there, expected) in WITHOUT_BASE else {"p": A}
    local, cloud = became(here, "local"), became(there, "cloud")
    made = plan(base, local, cloud)
    assert outcome(made, "p") == expected
    new_here, new_there = local.keys() - {"p"}, cloud.keys() - {"p"}
    if expected == "follow":
        assert made.moves.keys() == new_here | new_there
        assert (made.push, made.pull) == ({}, {})
    else:  # a file below a new folder, or a new name that nobody edited, is a new file like any other
        assert {path: made.push[path] for path in new_here} == {path: local[path] for path in new_here}
        assert {path: made.pull[path] for path in new_there} == {path: cloud[path] for path in new_there}


@pytest.mark.parametrize("how", ["changed", "added"])
def test_the_same_content_on_both_sides_is_agreed(how: str) -> None:
    base = {"p": A} if how == "changed" else {}
    assert plan(base, became(f"{how} alike", "local"), became(f"{how} alike", "cloud")) == Plan(agreed=("p",))


X, XB = entry("a", RUN), entry("b", RUN)


@pytest.mark.parametrize(
    ("base", "local", "cloud", "expected"),
    [
        (A, X, B, Plan(both={"p": XB})),
        (A, B, X, Plan(both={"p": XB})),
        (X, A, XB, Plan(both={"p": B})),
        (A, XB, B, Plan(push={"p": XB})),
        (A, B, XB, Plan(pull={"p": XB})),
        (None, X, A, Plan(push={"p": X})),
        (None, A, X, Plan(pull={"p": X})),
        (A, XB, C, Plan(merge={"p": Clash(A, XB, C)})),
    ],
)
def test_content_and_mode_are_changed_apart(base: Entry | None, local: Entry, cloud: Entry, expected: Plan) -> None:
    assert plan({} if base is None else {"p": base}, {"p": local}, {"p": cloud}) == expected


def test_an_edit_follows_a_rename_on_the_other_side() -> None:
    assert plan({"p": A}, {"q": A}, {"p": XB}).moves == {"q": Move("p", A, XB, XB, here=True)}
    assert plan({"p": A}, {"p": B}, {"q": X}).moves == {"q": Move("p", A, XB, B, here=False)}


@pytest.mark.parametrize(
    ("base", "local", "cloud"),
    [
        ({"p": A, "r": A}, {"q": A}, {"p": B, "r": A}),  # which of the two became q?
        ({"p": A}, {"q": A, "r": A}, {"p": B}),
        ({"p": A}, {"q": A}, {"p": B, "q": C}),
        ({"p": A}, {"p/q": A}, {"p": B}),
        ({"p": A, "q": C}, {"q": A}, {"p": B, "q": C}),
        ({"p": A}, {"q": C}, {"p": B}),
        ({"p": A}, {"P": A}, {"p": B}),
        ({"p": NEITHER}, {"q": NEITHER}, {"p": B}),
    ],
)
def test_where_a_rename_is_not_certain_an_edit_against_a_deletion_is_a_conflict(
    base: dict[str, Entry], local: dict[str, Entry], cloud: dict[str, Entry]
) -> None:
    for made in (plan(base, local, cloud), plan(base, cloud, local)):
        assert made.moves == {}
        assert "p" in made.conflicts


@pytest.mark.promise("P3")
def test_a_base_that_is_neither_side_makes_every_difference_a_conflict() -> None:
    assert plan({"p": NEITHER}, {"p": A}, {"p": B}).conflicts.keys() == {"p"}
    assert plan({"p": NEITHER}, {}, {"p": B}).conflicts.keys() == {"p"}
    assert plan({"p": NEITHER}, {"p": A}, {"p": A}).agreed == ("p",)


TREES = st.dictionaries(st.sampled_from("pqrstu"), st.sampled_from([A, B, C]))


@pytest.mark.promise("P3")
@given(TREES, TREES)
@settings(max_examples=60)
def test_without_a_base_nothing_is_deleted(local: dict[str, Entry], cloud: dict[str, Entry]) -> None:
    made = plan({}, local, cloud)
    assert None not in made.push.values()
    assert None not in made.pull.values()


@pytest.mark.promise("P3")
@given(TREES, TREES, TREES)
@settings(max_examples=100)
def test_doing_the_plan_brings_both_sides_in_step_but_for_conflicts_and_overwrites_no_new_content(
    base: dict[str, Entry], local: dict[str, Entry], cloud: dict[str, Entry]
) -> None:
    made = plan(base, local, cloud)
    after_local, after_cloud = dict(local), dict(cloud)
    for side, steps in ((after_local, made.pull), (after_cloud, made.push)):
        for path, new in steps.items():
            # What is replaced is what the base had: content that the other side has seen.
            assert side.get(path) == base.get(path)
            side.pop(path, None)
            if new is not None:
                side[path] = new
    for name, move in made.moves.items():
        for side in (after_local, after_cloud):
            side.pop(move.source, None)
            side[name] = move.result
    for side in (after_local, after_cloud):
        side.update(made.both)
    differing = {p for p in {*after_local, *after_cloud} if after_local.get(p) != after_cloud.get(p)}
    assert differing == made.conflicts.keys() | made.merge.keys()
    again = plan(after_cloud, after_local, after_cloud)
    assert (again.conflicts, again.merge) == ({}, {})
