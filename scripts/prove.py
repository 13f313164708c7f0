"""Show that what guards Satchel still bites: each line is how many planted defects were caught, of how many.

    python scripts/prove.py

Runs the tests that plant something (a forbidden import, a flipped bit, an unscoped statement, a crash, a foreign
credential) and prints one line for each kind: ``name: got / of``. Ends 1 if any line falls short.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# What is planted, and the tests that plant it.
PROOFS = {
    "forbidden imports seen by their contracts": ["tests/repository/test_import_contracts.py"],
    "statements that leave their tenant, refused": [
        "tests/catalog/test_guard.py",
        "tests/isolation/test_catalog_wall.py",
    ],
    "operations closed to foreign and weak credentials": ["tests/isolation/test_http_matrix.py"],
    "altered, cut and misplaced frames, packs and seals, refused": [
        "tests/objects/test_frame.py",
        "tests/objects/test_pack.py",
        "tests/objects/test_seal.py",
        "tests/objects/test_tamper.py",
        "tests/store/test_bucket_vectors.py",
    ],
    "defects of sealing and framing, noticed": ["tests/objects/test_planted.py"],
    "no key and nonce twice in 1,000,000 seals, and repeats noticed": ["tests/objects/test_single_use.py"],
    "words of contents looked for in all that a server writes, and leaks of them noticed": [
        "tests/isolation/test_canaries.py"
    ],
    "kinds of stored files of which 101 flipped bytes each, and 1,100 of the catalog, were found and named": [
        "tests/upkeep/test_flips.py"
    ],
    "forged, stale and foreign tokens and keys, refused": ["tests/auth/test_tokens.py", "tests/auth/test_keys.py"],
    "crashes of a sync after which the next run finished": ["tests/faults"],
    "changes of keys, killed at every step and beside writers, after which everything opened": [
        "tests/upkeep/test_keys.py",
        "tests/upkeep/test_reseal.py",
        "tests/store/test_keyring.py",
    ],
    "hundreds of orders of collect, purge, pushes and reads that lost nothing, and defects of them noticed": [
        "tests/upkeep/test_collect_interleavings.py"
    ],
    "kills of collect and purge after which the next run finished": [
        "tests/upkeep/test_collect.py",
        "tests/upkeep/test_purge.py",
    ],
    "crashes of a store that left a whole object or none": ["tests/store/test_durable_local.py"],
}


def prove(tests: list[str]) -> tuple[int, int]:
    """How many of the tests passed, of how many that ran or should have."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", os.environ.get("WORKERS", "2"), *tests]
    # PROVE: tests that plant a few things in the suite plant all of them here.
    env = {**os.environ, "PROVE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    closing = done.stdout.strip().rpartition("\n")[2]
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", closing)}
    if not counts:
        sys.exit(f"{' '.join(command)} told nothing:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return counts.get("passed", 0), sum(counts.values())


def main() -> None:
    short = False
    for name, tests in PROOFS.items():
        got, of = prove(tests)
        short |= got < of
        print(f"{name}: {got} / {of}", flush=True)
    sys.exit(1 if short else 0)


if __name__ == "__main__":
    main()
