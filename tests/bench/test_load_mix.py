"""The benchmark of the mix measures what it says: in short, every kind of request is made and answered."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.server.running import serving

sys.path.append(str(Path(__file__).parents[2] / "bench"))
mix, load_mix = import_module("mix"), import_module("load_mix")


@pytest.mark.system
def test_every_kind_of_request_of_the_mix_is_answered(tmp_path: Path) -> None:
    assert sum(share for _, share in mix.SHARES) == 100
    with serving(tmp_path / "data") as server:
        tenants = mix.found(server.url, str(server.admin.key), 2, 2, 3, 500)

        async def mixed() -> None:
            asking = mix.Mix([server.url], tenants)
            for name, _ in mix.SHARES:
                asking._names = [name]
                measured = await asking.run(rate=200, seconds=0.02)
                assert dict(measured.statuses) == {"200": 4}, name
                # Of two pushes at once to one project the second is a look.
                assert name in measured.latencies
                assert set(measured.latencies) <= {name, "look"}
            await asking.close()

        asyncio.run(mixed())
        versions = [project.parent.version for tenant in tenants for project in tenant.projects]
        assert max(versions) > 1  # what was pushed is a version, and the next push builds on it


def test_the_knee_is_where_all_below_held_and_a_slope_is_by_ten_minutes() -> None:
    row = {"rate": 100.0, "answered/s": 99.0, "failed": 0.0, "p95 ms": 40.0, "p99 ms": 140.0}
    assert load_mix.holds(row)
    for name, value in {"answered/s": 90.0, "failed": 1.0, "p95 ms": 51.0, "p99 ms": 151.0}.items():
        assert not load_mix.holds({**row, name: value})
    slow = {**row, "rate": 200.0, "answered/s": 199.0, "p95 ms": 60.0}
    assert load_mix.knee([row, slow, {**row, "rate": 300.0, "answered/s": 299.0}]) == 100
    assert load_mix.knee([slow]) == 0
    assert load_mix.slope([(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]) == pytest.approx(2.0)
    assert load_mix.slope([(1.0, 5.0)]) == 0
