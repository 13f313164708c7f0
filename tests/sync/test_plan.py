from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry
from satchel.sync.plan import NEITHER, Clash, Plan, plan


def entry(content: str, mode: str = "100644") -> Entry:
    return Entry(mode, ObjectId(hashlib.sha256(content.encode()).hexdigest()))


A, B, C = entry("a"), entry("b"), entry("c")
SIDES = {"a": A, "b": B, "c": C}


@pytest.mark.parametrize(
    ("base", "local", "cloud", "expected"),
    [
        ("a", "a", "a", Plan()),
        (None, None, None, Plan()),
        ("a", "b", "a", Plan(push={"p": B})),
        ("a", None, "a", Plan(push={"p": None})),
        (None, "a", None, Plan(push={"p": A})),
        ("a", "a", "b", Plan(pull={"p": B})),
        ("a", "a", None, Plan(pull={"p": None})),
        (None, None, "a", Plan(pull={"p": A})),
        ("a", "b", "b", Plan(agreed=("p",))),
        ("a", None, None, Plan(agreed=("p",))),
        (None, "a", "a", Plan(agreed=("p",))),
        ("a", "b", "c", Plan(conflicts={"p": Clash(A, B, C)})),
        ("a", None, "b", Plan(conflicts={"p": Clash(A, None, B)})),
        ("a", "b", None, Plan(conflicts={"p": Clash(A, B, None)})),
        (None, "a", "b", Plan(conflicts={"p": Clash(None, A, B)})),
    ],
)
def test_each_meeting_of_base_folder_and_cloud_has_one_outcome(
    base: str | None, local: str | None, cloud: str | None, expected: Plan
) -> None:
    def tree(side: str | None) -> dict[str, Entry]:
        return {} if side is None else {"p": SIDES[side]}

    assert plan(tree(base), tree(local), tree(cloud)) == expected


def test_a_change_of_mode_alone_is_a_change() -> None:
    assert plan({"p": A}, {"p": entry("a", "100755")}, {"p": A}).push == {"p": entry("a", "100755")}


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
    differing = {p for p in {*after_local, *after_cloud} if after_local.get(p) != after_cloud.get(p)}
    assert differing == made.conflicts.keys()
    assert plan(after_cloud, after_local, after_cloud).conflicts == {}
