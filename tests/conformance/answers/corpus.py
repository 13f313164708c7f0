"""A folder to ask, of a harbour that does not exist: written from fixed lists, so that every run asks the same text.

Beside plain prose it holds what makes answers differ: boilerplate copied by the dozen (equal scores), identifiers,
accents, scripts without spaces, headings that repeat, one long line, tasks, data, and a file that is no text.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

SEED = 496

_WHO = ("the harbour master", "the duty officer", "the pilot", "the crane crew", "the tide desk", "the lighthouse")
_DOES = ("approves", "reports", "measures", "closes", "opens", "records", "retracts", "inspects", "signals", "logs")
_WHAT = (
    "a berth", "the lock gate", "a storm warning", "the tide table", "a rollback of the schedule", "the crane",
    "a customs seal", "the fairway", "an ice report", "the mooring plan", "a dredging permit", "the radio channel",
)  # fmt: skip
_WHEN = ("at dawn", "after the storm", "before the ebb", "within a minute", "twice a day", "on the second channel")

_FIXED: dict[str, str] = {
    "README.md": "# Harbour\n\nWhat the harbour knows. Start with the [runbooks](runbooks/).\n",
    "AGENTS.md": "# Instructions for agents\n\nNever change a tide table without a decision record.\n",
    "context.json": json.dumps(
        {"name": "harbour", "description": "Berths and tides.", "relations": [{"type": "part-of", "project": "coast"}]}
    ),
    "runbooks/rollback.md": (
        "# Rollback\n\nHow a schedule is taken back.\n\n## Approval\n\nA rollback of the berth schedule needs approval "
        "by the duty officer; the pilot is told.\n\n## Steps\n\n- [x] tell the pilot @nour\n- [ ] close the lock gate "
        "@sam\n- [ ] open it again\n\n### Afterwards\n\nWrite a journal entry.\n"
    ),
    "decisions/0017-two-channels.md": (
        "---\nkind: decision\ntitle: Two channels\n---\n\n# Two channels\n\n## Context\n\nOne radio channel was not "
        "enough in a storm.\n\n## Consequences\n\nWarnings go out on two channels; BERTH-1287 is closed.\n"
    ),
    "specs/dispatcher.md": (
        "# Dispatcher\n\nThe function `harbour.tide.max_unavailable` bounds maxUnavailable berths; see BerthBudget, "
        "`retry_after_ms`, HTTP/2 and `--dry-run`.\n\n## Limits\n\nNo more than 64 MiB; a C++ client sends UTF-8. "
        "Don't send NaN.\n"
    ),
    "notes/languages.md": (
        "# Sprachen\n\nDie Schleuse öffnet früh, le café ouvre à l'aube, la señal cambió.\n\n## 港口\n\n"
        "港口管理系统的数据库迁移计划由值班员批准。潮汐表每天更新两次。\n\n## 港\n\n日本語の"
        "港湾データを毎日更新する。灯台の記録。\n\n"
        "## ท่าเรือ\n\nเจ้าหน้าที่อนุมัติการย้อนกลับ\n"
    ),
    "journal/2026-01-05.md": "# 2026-01-05\n\nThe ebb came early. The crane stood still for an hour.\n",
    "handoffs/night.md": "# Hand-off of the night\n\n- [ ] check the ice report @nour\n- [ ] 更新潮汐表\n",
    "data/berths.json": json.dumps({"name": "Berths", "berths": [{"id": n, "depth": n * 2 + 5} for n in range(40)]}),
    "data/minified.json": json.dumps({f"key{n}": f"value {n} of the fairway" for n in range(300)}),
    "prompts/review.prompt.md": "# Review\n\nSay what the tide table leaves out.\n",
}


def write_corpus(root: Path) -> Path:
    """Write the folder; returns it."""
    chance = random.Random(SEED)
    files = dict(_FIXED)
    for number in range(24):
        folder, kind = (("plans", "plan"), ("specs", "spec"), ("runbooks", "runbook"))[number % 3]
        sections = "\n".join(f"## Part {at}\n\n{_prose(chance, 3 + number % 4)}\n" for at in range(1 + number % 5))
        files[f"{folder}/{kind}-{number:02}.md"] = f"# {kind.title()} {number}\n\n{_prose(chance, 2)}\n\n{sections}"
    for number in range(14):
        files[f"proposals/{number:02}.md"] = "# Proposal\n\n## Alternatives\n\nNone was considered yet.\n"
    files["notes/long.md"] = f"# Long\n\n{_prose(chance, 250)}\n"
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    (root / "chart.bin").write_bytes(b"\x89chart\x00" * 20)
    return root


def _prose(chance: random.Random, sentences: int) -> str:
    said = (
        f"{chance.choice(_WHO)} {chance.choice(_DOES)} {chance.choice(_WHAT)} {chance.choice(_WHEN)}."
        for _ in range(sentences)
    )
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in said)
