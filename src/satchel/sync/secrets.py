"""What looks like a credential in a file that is about to leave: by the form that its issuer gives it. Pure.

Only forms that hardly anything else has are looked for: tokens with a prefix of their own, private keys with a body,
passwords inside addresses, and high-entropy values assigned to a name that says what they are. A document *about*
credentials must pass: placeholders, references and the well-known examples do not count. ``docs/adr`` says why this is
a table of ours and no library; ``docs/guide/selective.md`` lists what is found.

Nearly all of them are one long run of letters, digits and ``+/=._-``, and prose has few such runs: they are picked out
first, at a few hundred megabytes a second, and only they are looked at closely.
"""

from __future__ import annotations

import codecs
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

MAX_FINDINGS = 20
"""Most findings told of one file: it is held back by the first."""
MARK = b"satchel:allow-secret"
"""A line with this is not looked at: for an example that has to look real."""
VERSION = 3
"""Counts up whenever a file may be judged otherwise, so that remembered judgements are made anew."""


class Finding(NamedTuple):
    """One thing that looks like a credential. Never holds the credential itself."""

    line: int
    kind: str


class _Rule(NamedTuple):
    kind: str
    literals: tuple[bytes, ...]
    """One of these is in whatever the pattern matches."""
    pattern: bytes
    """Compiled where it is looked for: all of them would take 6 ms of every sync that sends something."""
    real: Callable[[re.Match[bytes]], bool]
    whole: Callable[[bytes, bytes], bool] | None
    """``None`` where it is looked for in the long runs alone. Else it is in the whole file, and this says of the file
    and its joined runs whether it can be: a tenth of the work of looking."""


# Words that stand for a secret where none is written.
_PLACEHOLDER = (
    rb"(?i)example|placeholder|changeme|change-me|change_me|redacted|dummy|fake|sample|your[-_]?|my[-_]?(?:secret|token|key|pass)"
    rb"|insert|replace|todo|xxx|\*\*\*|\.\.\.|<|>|\$\{|\{\{|\$\(|%\(|not[-_]?a[-_]?|test[-_]?(?:key|token|secret|pass)"
    rb"|12345|abcdef|deadbeef|foobar|lorem|undefined"
)
LEAST_ENTROPY = 3.5
"""Bits a character of a value that nobody made up: words and identifiers of documents stay below it."""
_ALWAYS: Callable[[re.Match[bytes]], bool] = lambda _found: True  # noqa: E731  # the default of a column


def _varied(found: re.Match[bytes]) -> bool:
    """Not a row of one letter, and no example: for formats that documentation likes to show."""
    text = found[0]
    return not re.search(_PLACEHOLDER, text) and _entropy(text) >= 3.0


def _entropy(text: bytes) -> float:
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())


def _random(value: bytes) -> bool:
    """A value of letters and digits in an order that nobody would think of."""
    hexed = re.fullmatch(rb"[0-9a-f]{32,}", value)
    mixed = re.search(rb"[0-9]", value) and re.search(rb"[a-z]", value) and re.search(rb"[A-Z]", value)
    if not (mixed or hexed) or re.search(_PLACEHOLDER, value):
        return False
    # A path, a dotted name or an identifier names a secret; it is none.
    if re.fullmatch(rb"/?[A-Za-z]+(?:[._/-][A-Za-z0-9]+)+/?", value):
        return False
    return _entropy(value) >= (3.0 if hexed else LEAST_ENTROPY)


def _password(found: re.Match[bytes]) -> bool:
    """A password in an address that is neither a placeholder nor the name of one, for a host that could exist."""
    user, password, host = found["user"].lower(), found["password"], found["host"].lower()
    if re.search(_PLACEHOLDER, password) or password.startswith((b"$", b"%", b"{", b":")):
        return False
    if password.lower() in _WORDS or password.lower() == user or len(set(password)) < 5:
        return False
    return not re.match(
        rb"(?:localhost|127\.|0\.0\.0\.0|\[?::1|host\b|hostname|example\.|.*\.example(?:\.|$)|.*\.test$)", host
    )


_WORDS = frozenset(
    (b"password", b"passwd", b"pass", b"pwd", b"secret", b"token", b"postgres", b"root", b"admin", b"guest", b"user")
) | {b"username", b"userpass", b"passw0rd", b"p4ssw0rd", b"hunter2", b"foo", b"bar", b"test", b"x-oauth-basic"}


def _rule(
    kind: str,
    literals: str,
    pattern: str,
    real: Callable[[re.Match[bytes]], bool] = _varied,
    *,
    whole: Callable[[bytes, bytes], bool] | None = None,
) -> _Rule:
    return _Rule(kind, tuple(literals.encode().split()), pattern.encode(), real, whole)


_BODY_TABLE = bytes(
    ord("a") if byte in b"+/=" or (byte < 128 and chr(byte).isalnum()) else ord(" ") for byte in range(256)
)
_BODY = b"a" * 40


def _has_body(_data: bytes, runs: bytes) -> bool:
    """The 40 characters that the body of a private key begins with are in one run."""
    return len(runs) >= len(_BODY) and _BODY in runs.translate(_BODY_TABLE)


def _has_token(_data: bytes, runs: bytes) -> bool:
    """What follows the colon of a Telegram token is a run of its own."""
    return runs.startswith(b"AA") or b"\nAA" in runs


def _has_at(data: bytes, _runs: bytes) -> bool:
    """An address with a password in it has a host behind it."""
    return b"@" in data


_PUTTY = "PuTTY-User-Key"
_W, _E = r"(?<![A-Za-z0-9_-])", r"(?![A-Za-z0-9_-])"
RULES: tuple[_Rule, ...] = (
    _rule(
        "private key",
        "-----BEGIN",
        # Headers may follow, in which none begins: else from each of many it would be looked to the end of the last.
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:\s|\\n|\\r|[A-Z][A-Za-z-]+: (?:(?!-----BEGIN )[^\n]){0,1000}+\n)*+"
        r"[A-Za-z0-9+/=]{40}",
        _ALWAYS,
        whole=_has_body,
    ),
    _rule("private key", "AGE-SECRET-KEY-1", rf"{_W}AGE-SECRET-KEY-1[0-9A-Z]{{58}}{_E}"),
    _rule(
        "private key",
        _PUTTY,
        # From the last of several such lines: from each of them, it would be looked far ahead each time.
        r"PuTTY-User-Key-File-\d: (?:(?!PuTTY-User-Key-File-)[\s\S]){0,4000}Private-Lines: \d+\s+[A-Za-z0-9+/=]{40}",
        whole=_has_body,
    ),
    _rule("AWS access key", "AKIA ASIA", rf"{_W}A[KS]IA[A-Z2-7]{{16}}{_E}"),
    _rule("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", rf"{_W}gh[pousr]_[A-Za-z0-9]{{36,255}}{_E}"),
    _rule("GitHub token", "github_pat_", rf"{_W}github_pat_[A-Za-z0-9]{{22}}_[A-Za-z0-9]{{59}}{_E}"),
    _rule("GitLab token", "glpat- gldt- glrt- glptt- glsoat-", rf"{_W}gl(?:pat|dt|rt|ptt|soat)-[\w-]{{20,}}"),
    _rule("Slack token", "xoxa- xoxb- xoxe- xoxp- xoxr- xoxs- xapp-", rf"{_W}(?:xox[abeprs]|xapp)-[\w-]{{20,}}"),
    _rule("Slack webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows)/T\w{8,}/B?\w{8,}/\w{16,}"),
    _rule("Discord webhook", "/api/webhooks/", r"discord(?:app)?\.com/api/webhooks/\d{17,20}/[\w-]{60,}"),
    _rule("Telegram bot token", ":AA", rf"{_W}\d{{8,10}}:AA[\w-]{{33}}{_E}", whole=_has_token),
    _rule("Stripe key", "_live_", rf"{_W}(?:sk|rk)_live_[A-Za-z0-9]{{20,}}{_E}"),
    _rule("Stripe key", "whsec_", rf"{_W}whsec_[A-Za-z0-9+/]{{32,}}"),
    _rule("Satchel key", "stl_", rf"{_W}stl_(?:live|refresh|invite)_[a-z0-9_]{{40,}}{_E}"),
    _rule("OpenAI key", "sk-proj- sk-svcacct- sk-admin-", rf"{_W}sk-(?:proj|svcacct|admin)-[\w-]{{40,}}"),
    _rule("OpenAI key", "T3BlbkFJ", rf"{_W}sk-\w{{20}}T3BlbkFJ\w{{20}}{_E}"),
    _rule("Anthropic key", "sk-ant-", rf"{_W}sk-ant-[a-z]{{3,5}}\d\d-[\w-]{{80,}}"),
    _rule("OpenRouter key", "sk-or-v1-", rf"{_W}sk-or-v1-[0-9a-f]{{64}}{_E}"),
    _rule("Google API key", "AIza", rf"{_W}AIza[\w-]{{35}}{_E}"),
    _rule("Google client secret", "GOCSPX-", rf"{_W}GOCSPX-[\w-]{{28}}{_E}"),
    _rule("Hugging Face token", "hf_", rf"{_W}hf_[A-Za-z]{{34}}{_E}"),
    _rule("npm token", "npm_", rf"{_W}npm_[A-Za-z0-9]{{36}}{_E}"),
    _rule("PyPI token", "pypi-AgE", rf"{_W}pypi-AgE[\w-]{{70,}}"),
    _rule("RubyGems key", "rubygems_", rf"{_W}rubygems_[0-9a-f]{{48}}{_E}"),
    _rule("Docker token", "dckr_pat_ dckr_oat_", rf"{_W}dckr_[po]at_[\w-]{{27,}}"),
    _rule("SendGrid key", "SG.", rf"{_W}SG\.[\w-]{{22}}\.[\w-]{{43}}{_E}"),
    _rule("Mailgun key", "key-", rf"{_W}key-[0-9a-z]{{32}}{_E}"),
    _rule("Twilio key", "SK", rf"{_W}SK[0-9a-f]{{32}}{_E}"),
    _rule("DigitalOcean token", "_v1_", rf"{_W}do[opr]_v1_[0-9a-f]{{64}}{_E}"),
    _rule("Shopify token", "shpat_ shpca_ shppa_ shpss_", rf"{_W}shp(?:at|ca|pa|ss)_[0-9a-fA-F]{{32}}{_E}"),
    _rule("Square token", "sq0", rf"{_W}sq0(?:atp|csp)-[\w-]{{22,43}}{_E}"),
    _rule("Linear key", "lin_api_", rf"{_W}lin_api_[A-Za-z0-9]{{40}}{_E}"),
    _rule("Notion token", "ntn_", rf"{_W}ntn_[A-Za-z0-9]{{46}}{_E}"),
    _rule("Databricks token", "dapi", rf"{_W}dapi[0-9a-f]{{32}}(?:-\d)?{_E}"),
    _rule("Vault token", "hvs. hvb.", rf"{_W}hv[sb]\.[\w-]{{90,}}"),
    _rule("Terraform token", ".atlasv1.", r"\w{14}\.atlasv1\.[\w-]{60,}"),
    _rule("Grafana token", "glsa_ glc_", rf"{_W}(?:glsa_[A-Za-z0-9]{{32}}_[0-9a-f]{{8}}{_E}|glc_[A-Za-z0-9+/]{{32,}})"),
    _rule("New Relic key", "NRAK-", rf"{_W}NRAK-[A-Z0-9]{{27}}{_E}"),
    _rule("Doppler token", "dp.pt. dp.st. dp.ct.", rf"{_W}dp\.(?:pt|ct|st\.[\w-]+)\.[A-Za-z0-9]{{40,}}{_E}"),
    _rule("Tailscale key", "tskey-", rf"{_W}tskey-(?:auth|api|client)-\w{{9,}}-\w{{20,}}{_E}"),
    _rule("Atlassian token", "ATATT3", rf"{_W}ATATT3[\w=-]{{100,}}"),
    _rule("Azure storage key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}==", _ALWAYS),
    _rule("JSON Web Token", "eyJ", rf"{_W}eyJ[\w-]{{16,}}\.eyJ[\w-]{{16,}}\.[\w-]{{32,}}"),
    _rule(
        "password in an address",
        "://",
        r"://(?P<user>[^\s:/?#@\"'`<>]{1,100}):(?P<password>[^\s/?#@\"'`<>]{6,200})"
        r"@(?P<host>[A-Za-z0-9.\[\]:-]{3,})",
        _password,
        whole=_has_at,
    ),
)  # fmt: skip
_IN_RUNS = tuple(
    (literal, number) for number, rule in enumerate(RULES) if rule.whole is None for literal in rule.literals
)


LEAST_RUN = 20
"""Characters of a run that is looked at."""
_RUN_TABLE = bytes(
    ord("a") if byte in b"+/=._-" or (byte < 128 and chr(byte).isalnum()) else ord(" ") for byte in range(256)
)
_RUN = b"a" * LEAST_RUN
_NAMED = (
    rb"(?i)(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)[a-z0-9_-]{0,20}[\"'`]?"
    rb"[ \t]{0,4}(?::=|=>|[:=])[ \t]{0,4}[\"'`]?\Z"
)
_NAME_PARTS = (b"passw", b"secret", b"token", b"key", b"credential")
"""One of these is in whatever ``_NAMED`` matches."""
_BLANK, _ASSIGNS = b" \t\"'`", b":=>"
_NAME_BYTES = 64
"""How far before a value its name may begin."""


def find_secrets(data: bytes) -> list[Finding]:
    """What looks like a credential in the bytes of a file, by line, at most ``MAX_FINDINGS``.

    Bytes that are no text are looked at as they are: a key is one in a database file too.
    """
    return sorted(_findings(_read(data)))


def _findings(data: bytes) -> dict[Finding, int]:
    """The same, and where the line of each begins."""
    found: dict[Finding, int] = {}
    line, before = range(0), ""
    for at, kind in _found(data):
        if at in line and kind == before:
            continue  # one is told of a line, which may be all of the file
        line, before = _line_of(data, at), kind
        if MARK not in data[line.start : line.stop]:
            found[Finding(data.count(b"\n", 0, at) + 1, kind)] = line.start
            if len(found) == MAX_FINDINGS:
                break
    return found


def new_secrets(data: bytes, before: bytes) -> list[Finding]:
    """The findings in ``data`` that stood in no line of ``before``: who changes the rest of a text is not to blame."""
    data, before = _read(data), _read(before)
    stood = {_whole(before, kind, start) for (_, kind), start in _findings(before).items()}
    return [found for found, start in sorted(_findings(data).items()) if _whole(data, found.kind, start) not in stood]


def _whole(data: bytes, kind: str, start: int) -> tuple[str, bytes]:
    """What tells a finding from others: its line, and of a key, which begins like any other, the next one too."""
    end = _line_of(data, start).stop
    if kind == "private key":
        end = _line_of(data, end + 1).stop
    return kind, b"\n".join(line.rstrip(b"\r") for line in data[start:end].split(b"\n"))


def may_hold_secrets(contents: Iterable[bytes]) -> bool:
    """Whether one of the files could have a finding: one look at all of them together, for most have none.

    What a file alone would be found with is found here too, since a line end stands between any two; a form that begins
    in one file and ends in the next may be, beside. What decides is ``find_secrets`` of each.
    """
    # One form could reach over a line end from a file that only names it, and swallow a real one: it counts by name.
    return next(_found(b"\n".join(map(_read, contents)), named=_PUTTY.encode()), None) is not None


def _read(data: bytes) -> bytes:
    """The text in UTF-8 where its mark says that it is UTF-16, as `>` in a PowerShell and Notepad write; else as is."""
    if not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data
    return data.decode("utf-16", "replace").encode()


def _found(data: bytes, named: bytes | None = None) -> Iterator[tuple[int, str]]:
    """Where something is found, and what; for what could be ``named`` its name is enough."""
    starts, runs = _long_runs(data)
    joined = b"\n".join(runs)
    in_runs = {number for literal, number in _IN_RUNS if literal in joined}
    offsets: list[int] = []
    for number, rule in enumerate(RULES):
        if rule.whole is None:
            if number not in in_runs:
                continue
        elif not rule.whole(data, joined) or not any(literal in data for literal in rule.literals):
            continue
        if named in rule.literals:
            yield 0, rule.kind
        for match in re.finditer(rule.pattern, joined if rule.whole is None else data):
            if not rule.real(match):
                continue
            at = match.start()
            if rule.whole is None:
                offsets = offsets or [0, *accumulate(len(run) + 1 for run in runs)]
                run = bisect_right(offsets, at) - 1
                at += starts[run] - offsets[run]
            yield at, rule.kind
    for start, text in zip(starts, runs, strict=True):
        # Most runs are paths and names: neither assigned to anything nor an assignment.
        if (b"=" in text or _is_value(data, start)) and _is_assigned(data, start, text):
            yield start, "assigned secret"


def _long_runs(data: bytes) -> tuple[list[int], list[bytes]]:
    """Where each run of at least ``LEAST_RUN`` characters starts, and the runs."""
    shape = data.translate(_RUN_TABLE)
    starts, runs = [], []
    at = shape.find(_RUN)
    while at >= 0:
        end = shape.find(b" ", at + LEAST_RUN)
        end = len(data) if end < 0 else end
        starts.append(at)
        runs.append(data[at:end])
        at = shape.find(_RUN, end)
    return starts, runs


def _is_value(data: bytes, start: int) -> bool:
    """Whether the run that starts there may be the value of something, by the two characters before it."""
    if not start:
        return False
    last = data[start - 1]
    return last in _ASSIGNS or (
        last in _BLANK and start > 1 and (data[start - 2] in _BLANK or data[start - 2] in _ASSIGNS)
    )


def _is_assigned(data: bytes, start: int, run: bytes) -> bool:
    """Whether a run is, or ends with, a random value that is assigned to a name which says that it is a secret."""
    name, equals, value = run.partition(b"=")
    if equals and value.strip(b"="):
        before = data[max(0, start - _NAME_BYTES) : start] + name + equals
    else:
        value, before = run, data[max(0, start - _NAME_BYTES) : start]
        if not before.rstrip(_BLANK).endswith((b":", b"=", b">")):
            return False
    value = value.rstrip(b".")
    # A value without a digit is not random; most that have one are addresses, whose name says nothing of a secret.
    if not LEAST_RUN <= len(value) <= 200 or not re.search(rb"[0-9]", value):
        return False
    name = before.lower()
    return any(part in name for part in _NAME_PARTS) and re.search(_NAMED, before) is not None and _random(value)


def _line_of(data: bytes, at: int) -> range:
    """Where the line is."""
    start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
    return range(start, end if end >= 0 else len(data))
