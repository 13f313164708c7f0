"""Renames that hang together: where one name waits, all that would take a name it keeps wait with it, and no more."""

from __future__ import annotations

from random import Random

import pytest

from satchel.errors import InvalidInput
from satchel.objects.listing import Entry
from satchel.objects.paths import tree_problems
from satchel.sync.merge import Apart, Clean, Outcome
from satchel.sync.naming import after_refusals, kept_by_old_names
from satchel.sync.outlook import status
from satchel.sync.plan import plan
from satchel.sync.record import NOTHING, Record
from satchel.sync.session import Direction, Steps, Strategy, choose, fold
from satchel.sync.settle import Take, resolve
from tests.sync.cloud import held, put
from tests.sync.conftest import Desk
from tests.sync.test_plan import A, B, C
from tests.sync.test_plan import entry as made_of
from tests.sync.test_session import again, steps

pytestmark = pytest.mark.promise("P3")

D, E, TAKEN = made_of("d"), made_of("e"), made_of("taken")
RUNNABLE = Entry("100755", A.object)

Trees = tuple[dict[str, Entry], dict[str, Entry], dict[str, Entry]]


def kept(done: Steps, base: dict[str, Entry], local: dict[str, Entry], cloud: dict[str, Entry]) -> list[str]:
    """What the folder changed and the cloud keeps all the same, apart from what somebody has to decide."""
    differ = plan(base, local, cloud).push
    return sorted(path for path in differ if path not in done.push and path in cloud)


CHAINS: dict[str, tuple[Trees, list[str]]] = {
    "two": (({"p": A, "q": B}, {"x": A, "p": B}, {"p": A, "q": B, "x": TAKEN}), ["p", "q"]),
    "five": (
        (
            {"p": A, "q": B, "r": C, "s": D, "t": E},
            {"x": A, "p": B, "q": C, "r": D, "s": E},
            {"p": A, "q": B, "r": C, "s": D, "t": E, "x": TAKEN},
        ),
        ["p", "q", "r", "s", "t"],
    ),
    "a swap, one end edited in the cloud": (({"p": A, "q": B}, {"p": B, "q": A}, {"p": A, "q": TAKEN}), ["p"]),
    "a circle": (
        ({"p": A, "q": B, "r": C}, {"p": C, "q": A, "r": B}, {"p": A, "q": TAKEN, "r": C}),
        ["p", "r"],
    ),
    "a new file in its place": (({"p": A}, {"x": A, "p": D}, {"p": A, "x": TAKEN}), ["p"]),
    "two chains to one name, of which one leads there": (
        ({"p": A, "q": B, "r": C}, {"x": A, "p": B, "y": C}, {"p": A, "q": B, "r": C, "x": TAKEN}),
        ["p", "q"],
    ),
    "but for case": (({"p": A, "q": B}, {"x": A, "P": B}, {"p": A, "q": B, "x": TAKEN}), ["p", "q"]),
    "a folder in its place": (({"p": A, "q": B}, {"x": A, "p/q": B}, {"p": A, "q": B, "x": TAKEN}), ["p", "q"]),
    "a file in place of a folder": (
        ({"p/q": A, "q": B}, {"x": A, "p": B}, {"p/q": A, "q": B, "x": TAKEN}),
        ["p/q", "q"],
    ),
    "its mode changed": (({"p": A, "q": B}, {"x": RUNNABLE, "p": B}, {"p": A, "q": B, "x": TAKEN}), ["p", "q"]),
    "the name it left was edited in the cloud": (
        ({"p": A, "q": B}, {"x": A, "p": B}, {"p": D, "q": B, "x": TAKEN}),
        ["q"],  # and `p` is in conflict
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_waits_as_a_whole_says_why_and_goes_as_a_whole(name: str) -> None:
    sides, expected = CHAINS[name]
    base, local, cloud = sides
    done = steps(*sides)
    assert kept(done, *sides) == expected
    for made in (done, again(done, *sides)):
        assert made.push.keys().isdisjoint(expected)
        told = made.name_clashes.keys() | made.queued.keys() | made.conflicts.keys()
        reasons = [*made.name_clashes.values(), *made.queued.values(), *(one.reason for one in made.conflicts.values())]
        for path in expected:  # it has a line of its own, if it is a file here, and a word in that of another
            assert path in told or path not in local
            assert any(reason.endswith(f"the cloud keeps {path}") for reason in reasons) or path in told
    free = {path: entry for path, entry in cloud.items() if entry != TAKEN}
    if name != "the name it left was edited in the cloud" and base.keys() == free.keys():
        assert fold(free, steps(base, local, free).push.items()) == local  # with the name free, all of it goes


def test_only_as_many_names_wait_as_the_content_needs() -> None:
    one: Trees = ({"p": A, "q": A}, {"x": A}, {"p": A, "q": A, "x": TAKEN})
    assert kept(steps(*one), *one) == ["p"]  # one was renamed, one deleted
    both: Trees = ({"p": A, "q": A}, {"x": A, "y": A}, {"p": A, "q": A, "x": TAKEN})
    assert (kept(steps(*both), *both), steps(*both).push["y"]) == (["p"], A)
    untouched: Trees = ({"p": A, "q": A}, {"x": A, "q": A}, {"p": A, "q": A, "x": TAKEN})
    assert kept(steps(*untouched), *untouched) == ["p"]  # a name is a name
    apart: Trees = ({"p": A, "q": B}, {"x": A, "q": C}, {"p": A, "q": B, "x": TAKEN})
    assert steps(*apart).push == {"q": C}
    copied: Trees = ({"p": A, "q": B}, {"x": A, "p": A, "q": C}, {"p": A, "q": B, "x": TAKEN})
    assert steps(*copied).push == {"q": C}


@pytest.mark.parametrize("strategy", [Strategy.LOCAL, Strategy.CLOUD, Strategy.BOTH])
def test_where_a_strategy_decides_the_whole_chain_goes_at_once(strategy: Strategy) -> None:
    done = steps(*CHAINS["five"][0], strategy=strategy)
    assert {path: done.push[path] for path in "pqrst"} == {"p": B, "q": C, "r": D, "s": E, "t": None}
    assert done.queued == {}


def test_a_merge_into_a_name_that_stays_waits_with_it() -> None:
    sides: Trees = ({"p": A, "q": B}, {"x": A, "p": B}, {"p": D, "q": B, "x": TAKEN})
    texts: dict[str, Outcome] = {"p": Clean(b"merged"), "x": Apart("not text")}
    done = steps(*sides, texts=texts)
    assert (done.push, done.merged, list(done.queued)) == ({}, [], ["p"])
    assert (done.held["p"], "p" in done.pull, [record.path for record in done.records]) == (A, False, ["x"])


def test_an_edit_that_would_follow_a_rename_into_a_name_that_stays_waits_with_it() -> None:
    # The cloud renamed p to q; here p was renamed to x, which is taken, and r to p.
    sides: Trees = ({"p": A, "r": B}, {"x": A, "p": B}, {"q": A, "r": B, "x": TAKEN})
    done = steps(*sides)
    assert done.push == {}
    assert "q" not in done.pull
    assert done.moves == {}


def test_sent_one_way_a_chain_waits_for_what_has_to_be_fetched_first() -> None:
    sides: Trees = ({"p": A, "q": B}, {"q": A}, {"p": A, "q": Entry("100755", B.object)})  # its mode is merged
    assert steps(*sides).push == {"p": None, "q": RUNNABLE}
    assert steps(*sides, direction=Direction.TO_CLOUD).push == {}


def test_a_file_renamed_over_one_that_waits_for_trust_keeps_its_old_name() -> None:
    theirs = Entry("100755", B.object)
    sides: Trees = ({"p": A, ".mcp.json": B}, {".mcp.json": A}, {"p": A, ".mcp.json": theirs})
    assert (steps(*sides).push, steps(*sides).untrusted) == ({}, (".mcp.json",))
    assert steps(*sides, trust=True).push == {"p": None, ".mcp.json": RUNNABLE}


def test_twenty_thousand_equal_files_that_went_take_no_time_of_note() -> None:
    gone: dict[str, Entry | None] = {f"old/{number}": None for number in range(20_000)}
    base = dict.fromkeys(gone, A)
    waiting = [(f"new/{number}", A.object) for number in range(20_000)]
    assert len(kept_by_old_names(gone, base, {}, base, waiting)) == 20_000  # were it quadratic, it would not end


def test_a_file_put_in_place_of_one_in_conflict_keeps_its_old_name_too() -> None:
    sides: Trees = ({"p": A, "q": B}, {"x": A, "p": B}, {"p": A, "q": B, "x": TAKEN})
    was = Record("x", "lines", None, C, TAKEN, D)  # it showed a conflict, was renamed, and p was renamed to x
    for known in (NOTHING._replace(open={"x": was}), NOTHING._replace(beside={"x": was})):
        assert choose(plan(*sides), *sides, known=known).push == {}
    marked: Trees = ({"p": A, "q": B}, {"x": D, "p": B}, {"p": A, "q": B, "x": TAKEN})
    known = NOTHING._replace(open={"x": was._replace(local=A)})  # p was renamed to x, and x shows a conflict
    assert choose(plan(*marked), *marked, known=known).push == {}


def test_what_was_refused_here_keeps_the_whole_chain_there() -> None:
    push: dict[str, Entry | None] = {"p": B, "q": None, "r": D}
    base, local, cloud = {"p": A, "q": B, "r": C}, {"x": A, "p": B, "r": D}, {"p": A, "q": B, "r": C, "x": TAKEN}
    assert list(after_refusals(push, ["x"], base, local, cloud)) == ["p", "q"]
    assert push == {"r": D}
    assert after_refusals(push, [], base, local, cloud) == {}


NAMES = ("p", "q", "r", "s", "P", "q/x", ".mcp.json")


def story(random: Random) -> Trees:
    """A folder in which much was renamed, and a cloud in which something was done meanwhile."""

    def edited(tree: dict[str, Entry], renames: float, deeds: int, who: str) -> dict[str, Entry]:
        for _ in range(deeds):
            new, deed = dict(tree), random.random()
            path, name = random.choice([*new, ""]), random.choice(NAMES)
            if deed < renames and path and name not in new:
                new[name] = new.pop(path)
            elif deed < renames + 0.1 and path:
                del new[path]
            elif deed < renames + 0.2 and path:
                new[path] = Entry("100755", new[path].object)
            else:
                new[name] = made_of(f"{who}{random.randrange(3)}")
            if not tree_problems(new):
                tree = new
        return tree

    base = {path: made_of(random.choice("abcde")) for path in random.sample(NAMES[:4], random.randint(1, 4))}
    return base, edited(base, 0.8, random.randint(2, 6), "mine"), edited(base, 0.2, random.randint(1, 3), "theirs")


def test_whatever_was_renamed_no_file_of_the_cloud_goes_before_it_is_there_by_its_new_name() -> None:
    waited = 0
    for seed in range(4_000):
        random = Random(seed)
        base, local, cloud = story(random)
        made = plan(base, local, cloud)
        direction = random.choice((Direction.BOTH, Direction.BOTH, Direction.TO_CLOUD))
        texts = {path: random.choice((Apart("no text"), Clean(b"merged"), None)) for path in made.merge}
        known = {path: one for path, one in texts.items() if one is not None and direction is Direction.BOTH}
        done = choose(made, base, local, cloud, direction=direction, texts=known)
        after, here = fold(cloud, done.push.items()), fold(local, done.pull.items())
        came = {
            entry.object
            for path, entry in local.items()
            if here.get(path) == entry
            and all(entry.object != side[path].object for side in (base, cloud) if path in side)
        }
        there, still = ({entry.object for entry in tree.values()} for tree in (cloud, after))
        assert came & there <= still, seed
        waited += bool(done.queued)
    assert waited > 15  # it was about something


def test_once_what_it_waits_for_is_decided_one_sync_sends_all_of_it() -> None:
    waited = 0
    for seed in range(4_000):
        base, local, cloud = story(Random(seed))
        done = steps(base, local, cloud, trust=True)
        if done.name_clashes or not done.conflicts:
            continue
        here, there = fold(local, done.pull.items()), fold(cloud, done.push.items())
        agreed = fold(fold(there, done.held.items()), [(path, there.get(path)) for path in done.conflicts])
        then = steps(agreed, here, there, trust=True)
        assert (then.conflicts, then.queued) == ({}, {}), seed
        assert fold(here, then.pull.items()) == fold(there, then.push.items()), seed
        waited += bool(done.queued)
    assert waited > 15  # it was about something


# In folders, with a cloud ---------------------------------------------------------------------------------------------

FILES = {f"{number}.md": f"file {number}\n" for number in range(1, 6)}
SHIFTED = {f"{number}.md": f"file {number + 1}\n" for number in range(1, 5)}
THEIRS = "Ann's new file\n"


def shifted(ann: Desk, bob: Desk) -> None:
    """Bob renames 1 to 0, 2 to 1 and so on; Ann was faster to make a 0."""
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"0.md": THEIRS})
    ann.sync()
    for number in range(1, 6):
        (bob.root / f"{number}.md").rename(bob.root / f"{number - 1}.md")


def test_a_chain_in_folders_is_there_for_others_by_its_old_names_until_it_is_decided(ann: Desk, bob: Desk) -> None:
    shifted(ann, bob)
    for _ in range(2):
        report = bob.sync()
        assert (report.pushed, report.in_step) == ([], False)
        assert [(one.path, one.settle) for one in report.conflicts] == [
            ("0.md", "resolve"), ("1.md", "sync"), ("2.md", "sync"), ("3.md", "sync"), ("4.md", "sync"),
        ]  # fmt: skip
        assert report.conflicts[0].reason.endswith("; until it is decided the cloud keeps 1.md")
        assert report.conflicts[4].reason == (
            "waits for 3.md, to which the cloud's file of this name was renamed here; "
            "until it is decided the cloud keeps 5.md"
        )
        assert [one[:2] for one in status(bob.worktree).conflicts] == [one[:2] for one in report.conflicts]
    ann.sync()
    assert held(ann.root) == {"0.md": THEIRS, **FILES}
    with pytest.raises(InvalidInput, match=r"3\.md: waits for 2\.md"):
        resolve(bob.worktree, ["3.md"], Take.LOCAL)


@pytest.mark.parametrize(
    ("take", "files"),
    [
        (Take.LOCAL, {"0.md": "file 1\n"}),
        (Take.CLOUD, {"0.md": THEIRS}),
        (Take.BOTH, {"0.md": "file 1\n", "0.cloud.md": THEIRS}),
    ],
)
def test_with_the_decision_the_whole_chain_goes_in_one_sync(
    ann: Desk, bob: Desk, take: Take, files: dict[str, str]
) -> None:
    shifted(ann, bob)
    bob.sync()
    resolve(bob.worktree, ["0.md"], take)
    report = bob.sync()
    assert (report.in_step, report.version) == (True, 3)
    assert ann.sync().in_step
    assert held(ann.root) == held(bob.root) == SHIFTED | files


def test_a_name_that_is_given_up_lets_the_chain_go(ann: Desk, bob: Desk) -> None:
    shifted(ann, bob)
    (bob.root / "0.md").rename(bob.root / "first.md")
    assert bob.sync().in_step
    assert ann.sync().in_step
    assert held(ann.root) == held(bob.root) == SHIFTED | {"0.md": THEIRS, "first.md": "file 1\n"}
