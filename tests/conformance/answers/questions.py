"""What is asked of every route: questions as people and agents type them, and as nobody should."""

from __future__ import annotations

NATURAL = (
    "who approves a rollback", "How is the berth schedule taken back?", "what happens after the storm",
    "storm warning", "tide table", "lock gate",
    "who retracts a storm warning before the ebb", "mooring plan", "radio channel",
    "duty officer", "considered alternatives", "alternatives", "what is a tide",
    "the", "to be or not to be", "open", "approval", "harbour master signals",
    "journal entry", "Hand-off of the night", "two channels", "never change a tide table",
    "berths and tides", "fairway value", "crane stood still for an hour", "inspects the crane",
    "closes the fairway at dawn", "plan 7", "Part 3", "instructions for agents",
)  # fmt: skip
IDENTIFIERS = (
    "BERTH-1287", "max_unavailable", "maxUnavailable", "harbour.tide.max_unavailable", "BerthBudget",
    "berthbudget", "berth budget", '"max unavailable"', "unavailable",
    "retry_after_ms", "HTTP/2", "--dry-run", "C++", "UTF-8", "don't", "0017", "key17",
    "runbooks/rollback.md",
)  # fmt: skip
FILTERS = (
    "kind:decision", "kind:spec limits", "-kind:spec berth", "path:runbooks/", "path:plans -path:plan-03 crane",
    "kind:nonsense x", "KIND:Decision channel", 'path:"runbooks/" tide', "project:harbour pilot", "project:nowhere x",
    "-project:harbour x", "author:owner", "author:OWNER crane", "author:robot", "-author:owner", "author:nobody",
    "since:2020", "since:2020-02-30 tide", "since:2199", "until:2199-12", "until:2020", "since:2020 until:2199-01-01",
    "-since:2199 tide", "-until:2020 tide", "author:robot since:2020 kind:note", "since:2026-01-05T00:00:00Z",
    "kind:plan kind:spec", "kind:plan -crane", "-tide", "author:",
    "reviewed:yes", "reviewed:no tide", "-reviewed:yes kind:plan", "reviewed:maybe", "reviewed:yes author:robot",
)  # fmt: skip
SHAPES = (
    '"lock gate"', '"gate lock"', '"duty officer" -storm', 'approval -"duty officer"', '"tide', 'tide"', "roll*",
    "connecti*", "max_unav*", "BERTH-12*", "-roll*", "approv* offic*", '"lock ga*"', "a*", "*", "**", "x*y",
)  # fmt: skip
SCRIPTS = (
    "数据库", "数据库迁移", "数据库的迁移计划怎么批准", "港", "港口 tide", "データ", "港湾データ",
    "อนุมัติ", "ย้อนกลับ", "café", "cafe", "CAFÉ", "cafe\u0301", "früh", "señal", "Schleuse öffnet",
    "更新潮汐表", "ＵＴＦ８",    "İstanbul", "привет", "مرحبا",
)  # fmt: skip
HOSTILE = (
    "", "   ", "\t\n", '"', '""', '"""', "-", "--", "()", "AND", "NEAR(a b)", "text:tide",
    "tide AND", "tide OR crane", "'; DROP TABLE fts; --", "\\", "tide\0crane", "\0",
    "😀", "tide 😀", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0000\uffff",
    "\U0010ffff", "kind:", "-kind:", 'kind:"', "kind:kind:kind:", "-" * 200,
    '"' * 200, "tide " * 200, "a" * 5_000, "港" * 5_000, '"tide' * 300, "-tide " * 300,
    " ".join(f"w{n}" for n in range(500)), "since:9999-12-31", "until:0000",
)  # fmt: skip
MISSPELT = ("crnae", "harbur", "dispather", "retracst", "shcedule", "mooringg", "zzzzzzzz", "tidde table")

QUESTIONS: tuple[str, ...] = (
    *NATURAL, *IDENTIFIERS, *FILTERS, *SHAPES, *SCRIPTS, *HOSTILE, *MISSPELT
)  # fmt: skip
