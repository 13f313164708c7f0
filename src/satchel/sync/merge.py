"""Two edits of one text made into one, line by line. Pure: bytes in, bytes out.

``merge`` answers with a clean text, with one that shows the conflict between markers, or with the reason why the two
files can only stand side by side. Lines are compared without their endings, so that a file saved with other line
endings, or without its last newline, still merges; endings and last newline are merged like any other change.

    <<<<<<< LOCAL
    the folder's lines
    =======
    the cloud's lines
    >>>>>>> CLOUD

A JSON, YAML or TOML file or front matter that a merge made invalid (a key given twice, for example) is a conflict too.
The list of reviews is merged as the set of lines that it is: people who review different files never meet in it.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from satchel.objects.reviews import REVIEWED_PATH, merge_reviews

START, MIDDLE, END = b"<<<<<<< LOCAL", b"=======", b">>>>>>> CLOUD"

MAX_MERGE_BYTES = 4 * 1024 * 1024
MAX_MERGE_LINES = 50_000
"""Of each side. Longer texts stand side by side: nobody resolves them between markers."""
MAX_PAIRS = 300_000
"""Pairs of equal lines that a comparison may have to look at, between where the three begin and end to differ: time
grows with it, and faster. 2,000,000 took 55 s (20,000 lines, 200 different ones), 300,000 at most 2 s."""
MAX_DEPTH = 64
"""Nesting of a YAML file that is checked."""


Line = TypeVar("Line", bytes, str)


class Clean(NamedTuple):
    data: bytes


class Marked(NamedTuple):
    """A conflict, shown in the text."""

    data: bytes
    reason: str


class Apart(NamedTuple):
    """A conflict that no text can show."""

    reason: str


class Gone(NamedTuple):
    """A conflict of which the cloud's side cannot be had: nothing is written, and somebody may give it back."""

    reason: str


Outcome = Clean | Marked | Apart | Gone


class Hunk(NamedTuple):
    """The lines of a conflict in a file, markers included, counted from 1."""

    first: int
    last: int


def merge(path: str, base: bytes | None, local: bytes, cloud: bytes, *, made: bool = False) -> Outcome:
    """Merge what became of ``base`` on both sides. ``None``: nobody knows it any more, or (``made``) there was none."""
    reviews = merge_reviews(base or b"", local, cloud) if path == REVIEWED_PATH else None
    if reviews is not None:
        return Clean(reviews)
    problem = _problem(local, cloud, base or b"")
    if problem is not None:
        return Apart(problem)
    texts = _Texts(base, local, cloud)
    parts = texts.merged()
    if parts is None:
        return Apart("both changed it, and too many lines are equal to merge it")
    if base is None:
        reason = "each side has a file of its own there" if made else "what both sides had in common is not known"
        return _shown(texts, reason) or Clean(texts.written(_differences(texts)))
    if any(part.cloud is not None for part in parts):
        return Marked(texts.written(parts), "both sides changed the same lines")
    data = texts.written(parts)
    wrong = invalid(path, data)
    if wrong is None or (invalid(path, local) and invalid(path, cloud)):  # JSON with comments, YAML with templates
        return Clean(data)
    reason = f"merged line by line it would not be valid: {wrong}"
    return _shown(texts, reason) or Apart(reason)


def _shown(texts: _Texts, reason: str) -> Marked | None:
    """A conflict of every line that differs; ``None`` where only endings do."""
    parts = _differences(texts)
    return Marked(texts.written(parts), reason) if any(part.cloud is not None for part in parts) else None


def _differences(texts: _Texts) -> list[_Part]:
    """The two sides with everything that differs as a conflict, whoever changed it."""
    head, tail = shared(texts.local, texts.cloud)
    mine, theirs = (side[head : len(side) - tail] for side in (texts.local, texts.cloud))
    return [_Part(texts.local[:head]), *_apart(mine, theirs), _Part(texts.local[len(texts.local) - tail :])]


def hunks(data: bytes) -> list[Hunk]:
    """Where conflicts stand between markers."""
    found: list[Hunk] = []
    first = middle = 0
    if START not in data:
        return found
    for number, line in enumerate(data.split(b"\n"), 1):
        mark = line.removesuffix(b"\r")
        if mark == START:
            first, middle = number, 0
        elif mark == MIDDLE and first:
            middle = number
        elif mark == END and middle:
            found.append(Hunk(first, number))
            first = middle = 0
    return found


def _problem(*texts: bytes) -> str | None:
    if any(b"\0" in text for text in texts):
        return "both changed it, and it is not text"
    if any(len(text) > MAX_MERGE_BYTES or text.count(b"\n") >= MAX_MERGE_LINES for text in texts):
        return "both changed it, and it is too long to merge"
    return None


# Lines and their endings -------------------------------------------------------------------------------------------


class _Form(NamedTuple):
    """How the lines of a text end."""

    ending: bytes
    closed: bool
    """Whether the last line has its newline."""


def _form(text: bytes) -> _Form | None:
    """``None`` where both endings occur."""
    crlf = text.count(b"\r\n")
    if crlf not in (0, text.count(b"\n")):
        return None
    return _Form(b"\r\n" if crlf else b"\n", text.endswith(b"\n"))


def _lines(text: bytes, ending: bytes) -> list[bytes]:
    whole = text.split(ending)
    if whole[-1] == b"":
        whole.pop()
    return whole


class _Texts:
    """Three texts as lines without endings, and the form of what is made of them."""

    def __init__(self, base: bytes | None, local: bytes, cloud: bytes) -> None:
        forms = [None if text is None else _form(text) for text in (base, local, cloud)]
        told = [text for text in (base, local, cloud) if text is not None]
        if any(_form(text) is None for text in told):  # compared as they are: a carriage return is content then
            forms = [None if text is None else _Form(b"\n", text.endswith(b"\n")) for text in (base, local, cloud)]
        was, mine, theirs = (form if text else None for form, text in zip(forms, (base, local, cloud), strict=True))
        # A text without a line has no say in how lines end.
        known = mine or theirs or was or _Form(b"\n", True)
        mine, theirs = mine or known, theirs or known
        was = was or mine
        self.form = _Form(
            theirs.ending if mine.ending == was.ending else mine.ending,
            theirs.closed if mine.closed == was.closed else mine.closed,
        )
        endings = [form.ending if form is not None else b"\n" for form in forms]
        self.base, self.local, self.cloud = (
            _lines(text or b"", ending) for text, ending in zip((base, local, cloud), endings, strict=True)
        )

    def merged(self) -> list[_Part] | None:
        """The result in stretches; ``None`` where finding them would take too long."""
        head, tail = shared(self.base, self.local, self.cloud)
        was, mine, theirs = (side[head : len(side) - tail] for side in (self.base, self.local, self.cloud))
        if max(pairs(was, mine), pairs(was, theirs), pairs(mine, theirs)) > MAX_PAIRS:
            return None
        ends = self.local[len(self.local) - tail :]
        return [_Part(self.local[:head]), *_regions(was, mine, theirs), _Part(ends)]

    def written(self, parts: Sequence[_Part]) -> bytes:
        """The stretches as one text; what follows a conflict's last marker begins a line of its own."""
        lines: list[bytes] = []
        conflicts = False
        for ours, theirs in parts:
            conflicts = theirs is not None if ours or theirs is not None else conflicts
            lines += ours if theirs is None else [START, *ours, MIDDLE, *theirs, END]
        text = self.form.ending.join(lines)
        return text + self.form.ending if lines and (self.form.closed or conflicts) else text


class _Part(NamedTuple):
    """A stretch of the result: lines that both will have, or, in conflict, those of either side."""

    lines: Sequence[bytes]
    cloud: Sequence[bytes] | None = None
    """``None`` where there is no conflict."""


def _regions(was: Sequence[bytes], mine: Sequence[bytes], theirs: Sequence[bytes]) -> Iterator[_Part]:
    """The result between lines that all three share: whoever changed something there has it, and where both did, it is
    a conflict (Khanna, Kunal, Pierce: A Formal Investigation of Diff3, 2007)."""
    before = _Same(0, 0, 0, 0)
    for same in _common(was, mine, theirs):
        old = was[before.was + before.size : same.was]
        ours, others = mine[before.mine + before.size : same.mine], theirs[before.theirs + before.size : same.theirs]
        if ours == others or others == old:
            yield _Part(ours)
        elif ours == old:
            yield _Part(others)
        else:
            yield from _apart(ours, others)
        yield _Part(mine[same.mine : same.mine + same.size])
        before = same


class _Same(NamedTuple):
    """A run of lines that all three share: where it begins in each, and how long it is."""

    was: int
    mine: int
    theirs: int
    size: int


def _common(was: Sequence[bytes], mine: Sequence[bytes], theirs: Sequence[bytes]) -> Iterator[_Same]:
    """What both sides kept of the base, in order; at last a run of nothing, at the end of all three."""
    from difflib import SequenceMatcher  # most syncs merge nothing

    ours = deque(SequenceMatcher(None, was, mine).get_matching_blocks())
    others = deque(SequenceMatcher(None, was, theirs).get_matching_blocks())
    while ours and others:
        one, other = ours[0], others[0]
        start, end = max(one.a, other.a), min(one.a + one.size, other.a + other.size)
        if start < end:
            yield _Same(start, one.b + start - one.a, other.b + start - other.a, end - start)
        (ours if one.a + one.size < other.a + other.size else others).popleft()
    yield _Same(len(was), len(mine), len(theirs), 0)


def _apart(mine: Sequence[bytes], theirs: Sequence[bytes]) -> Iterator[_Part]:
    """Two sides with every difference as a conflict."""
    from difflib import SequenceMatcher  # most syncs merge nothing

    for what, a, b, c, d in SequenceMatcher(None, mine, theirs).get_opcodes():
        yield _Part(mine[a:b]) if what == "equal" else _Part(mine[a:b], theirs[c:d])


def shared(*sides: Sequence[Line]) -> tuple[int, int]:
    """How many lines at the beginning and at the end all of them share."""
    shortest = min(map(len, sides))
    first = sides[0]
    head = 0
    while head < shortest and all(side[head] == first[head] for side in sides):
        head += 1
    tail = 0
    while tail < shortest - head and all(side[-1 - tail] == first[-1 - tail] for side in sides):
        tail += 1
    return head, tail


def pairs(one: Sequence[Line], other: Sequence[Line]) -> int:
    """How many pairs of equal lines difflib may have to look at to compare them."""
    counts = Counter(other)
    # As difflib does: in a long text, lines that make up more than a hundredth of it are not looked for.
    popular = len(other) // 100 + 1 if len(other) >= 200 else len(other)
    return sum(count for line in one if (count := counts[line]) <= popular)


# Validity ----------------------------------------------------------------------------------------------------------


def invalid(path: str, data: bytes) -> str | None:
    """What is wrong with a JSON, YAML or TOML file, or with the front matter of a document; ``None`` for a good one and
    for every other kind."""
    from satchel.documents.document import front_matter_of  # most syncs merge nothing

    front = front_matter_of(path, data)
    suffix = front.suffix if front is not None else path.rpartition(".")[2].lower() if "." in path else ""
    check = _CHECKS.get(suffix)
    if check is None:
        return None
    try:
        check(front.text if front is not None else data.decode("utf-8-sig"))
    except _Twice as error:
        return f"{error.args[0]} is given twice"
    except Exception:  # noqa: BLE001  # three parsers, each with errors of its own, on content that may be anything
        return "it cannot be parsed"
    return None


class _Twice(ValueError):
    """A key that is given twice."""


def _once(keys: Iterator[object]) -> None:
    seen: set[object] = set()
    for key in keys:
        if key in seen:
            raise _Twice("a key")
        seen.add(key)


def _check_json(text: str) -> None:
    def once(found: list[tuple[str, Any]]) -> None:
        _once(key for key, _ in found)

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    json.loads(text, object_pairs_hook=once, parse_constant=refuse)


def _check_toml(text: str) -> None:
    from satchel.documents.front_matter import load_toml  # most syncs merge nothing

    load_toml(text)


def _check_yaml(text: str) -> None:
    import yaml

    from satchel.documents.front_matter import has_long_tag

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > MAX_DEPTH or has_long_tag(event):  # the loader follows nesting on the C stack, and keeps all tags
            raise ValueError("too deep, or too long")
    for document in yaml.compose_all(text, Loader=loader):
        _keys_once(document)


def _keys_once(document: Any) -> None:
    """Every mapping below a composed node, each looked at once however often it is referred to."""
    seen: set[int] = set()
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen or isinstance(node.value, str):
            continue
        seen.add(id(node))
        if node.id == "mapping":
            # Not made one text: a long key may be referred to thousands of times.
            _once((key.tag, key.value) for key, _ in node.value if isinstance(key.value, str))
            waiting += [side for pair in node.value for side in pair]
        else:
            waiting += node.value


_CHECKS: dict[str, Callable[[str], object]] = {
    "json": _check_json,
    "yaml": _check_yaml,
    "yml": _check_yaml,
    "toml": _check_toml,
}
