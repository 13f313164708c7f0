from __future__ import annotations

from collections.abc import Mapping

import pytest

from satchel.objects.listing import Entry
from satchel.sync.merge import Apart, Clean, Marked, Outcome
from satchel.sync.plan import plan
from satchel.sync.record import judge
from satchel.sync.session import Direction, Steps, Strategy, beside_names, choose
from tests.sync.test_plan import A, B, C
from tests.sync.test_plan import entry as made_of

D = made_of("d")


def steps(
    base: dict[str, Entry],
    local: dict[str, Entry],
    cloud: dict[str, Entry],
    *,
    direction: Direction = Direction.BOTH,
    strategy: Strategy = Strategy.MANUAL,
    trust: bool = False,
    texts: Mapping[str, Outcome] | None = None,
) -> Steps:
    made = plan(base, local, cloud)
    if texts is None and direction is not Direction.TO_CLOUD:
        texts = dict.fromkeys(made.merge, Apart("not text"))
    return choose(made, base, local, cloud, direction=direction, strategy=strategy, trust=trust, texts=texts)


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
    sides: tuple[dict[str, Entry], ...] = ({"a": A}, {"a": B}, {})
    done = steps(*sides, direction=direction)
    assert (done.push, done.pull, list(done.conflicts)) == ({}, {}, ["a"])
    assert again(done, *sides, direction=direction).conflicts.keys() == {"a"}


def test_texts_that_merge_are_written_and_sent_and_a_crash_between_is_remembered() -> None:
    sides = ({"a": A}, {"a": B}, {"a": C})
    merged = made_of("merged")
    done = steps(*sides, texts={"a": Clean(b"merged")})
    assert (done.push, done.pull, done.merged, done.held) == ({"a": merged}, {"a": merged}, ["a"], {})
    assert done.contents == {merged.object: b"merged"}
    (record,) = done.records
    half = judge({}, {"a": record}, sides[0], {"a": merged})
    assert half.base == {"a": C}
    assert judge({}, {"a": record}, sides[0], {"a": B}).base == {}  # it was never written
    assert judge({}, {"a": record}, {"a": C}, {"a": merged}).base == {}  # the base knows


def test_texts_that_do_not_merge_are_shown_and_nothing_is_sent_until_somebody_decides() -> None:
    sides = ({"a": A}, {"a": B}, {"a": C})
    marked = made_of("marked")
    done = steps(*sides, texts={"a": Marked(b"marked", "both sides changed the same lines")})
    assert (done.push, done.pull, done.held) == ({}, {"a": marked}, {"a": A})
    (record,) = done.records
    for cloud, local in ((C, marked), (D, marked), (A, marked), (C, A), (C, D)):
        known = judge({"a": record}, {}, {"a": A}, {"a": local})
        made = plan({"a": A}, {"a": local}, {"a": cloud})
        later = choose(made, {"a": A}, {"a": local}, {"a": cloud}, known=known)
        assert (later.push, later.pull, list(later.conflicts)) == ({}, {}, ["a"])
    known = judge({"a": record}, {}, {"a": A}, {"a": C})
    agreed = choose(plan({"a": A}, {"a": C}, {"a": C}), {"a": A}, {"a": C}, {"a": C}, known=known)
    assert (agreed.push, agreed.pull, agreed.conflicts, agreed.held) == ({}, {}, {}, {})


def test_what_cannot_be_merged_stands_side_by_side() -> None:
    local = {"d/a.bin": B, "d/a.cloud.bin": A}
    done = steps({"d/a.bin": A}, local, {"d/a.bin": C})
    assert done.pull == {"d/a.cloud-2.bin": C}
    assert done.conflicts["d/a.bin"].beside == "d/a.cloud-2.bin"
    (record,) = done.records
    local = {**local, "d/a.cloud-2.bin": C}
    known = judge({"d/a.bin": record}, {}, {"d/a.bin": A}, local)
    gone = choose(plan({}, {}, {}), {}, local, {}, known=known)
    assert gone.pull == {"d/a.cloud-2.bin": None}  # nobody is asked about it any more


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [
        ("a/plan.md", "a/plan.cloud.md", "a/plan.cloud-2.md"),
        ("Makefile", "Makefile.cloud", "Makefile.cloud-2"),
        (".env", ".env.cloud", ".env.cloud-2"),
        ("x" * 252 + ".md", "cloud-0.md", "cloud-1.md"),
    ],
)
def test_the_name_beside_is_close_to_the_name(path: str, first: str, second: str) -> None:
    names = iter(beside_names(path))
    assert (next(names), next(names)) == (first, second)


def test_keeping_both_sends_both() -> None:
    done = steps({"a.md": A}, {"a.md": B}, {"a.md": C}, strategy=Strategy.BOTH)
    assert (done.push, done.pull) == ({"a.md": B, "a.cloud.md": C}, {"a.cloud.md": C})
    assert steps({"a": A}, {"a": B}, {}, strategy=Strategy.BOTH).push == {"a": B}
    assert steps({"a": A}, {}, {"a": B}, strategy=Strategy.BOTH).pull == {"a": B}


def test_a_renamed_file_that_the_other_side_edited_has_its_new_name_and_the_edit() -> None:
    done = steps({"p": A}, {"q": A}, {"p": B})
    assert (done.push, done.pull, done.moves) == ({"p": None, "q": B}, {"q": B}, {"q": "p"})
    done = steps({"p": A}, {"p": B}, {"q": A})
    assert (done.push, done.pull, done.moves) == ({"q": B}, {"p": None, "q": B}, {"q": "p"})


@pytest.mark.parametrize("here", [True, False])
def test_a_rename_that_cannot_be_followed_now_waits_whole(here: bool) -> None:
    path = ".mcp.json"
    renamed, edited = {path: A}, {"p": B}
    sides = ({"p": A}, renamed, edited) if here else ({"p": A}, edited, renamed)
    done = steps(*sides)
    assert (done.push, done.pull, done.untrusted) == ({}, {}, (path,))
    done = steps(*sides, direction=Direction.TO_CLOUD, trust=True)
    assert (done.push, done.pull, done.waiting_pull) == ({}, {}, 1 if here else 2)
    assert again(done, *sides, trust=True).moves == {path: "p"}


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
    gone: tuple[dict[str, Entry], ...] = ({"a": A}, {"a": B}, {})
    done = steps(*gone, direction=Direction.TO_CLOUD, strategy=Strategy.CLOUD)
    assert again(done, *gone).pull == {"a": None}
    sides = ({"a": A}, {"a": B}, {"a": C})
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
