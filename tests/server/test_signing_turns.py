"""A running server changes its signing key by itself when its time has come."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from satchel.catalog.retention import DAY_MS
from satchel.catalog.schema import signing_key
from satchel.server.housekeeping import turn_signing_key
from tests.server.running import Running


async def _made(server: Running, ms_ago: int) -> None:
    """As if every key had been made, and begun to sign, so long ago."""
    cloud, at = server.cloud, server.cloud.clock() - ms_ago
    async with cloud.catalog.directory(write=True) as d:
        await d.execute(update(signing_key).values(created=at))
        await d.execute(update(signing_key).where(signing_key.c.signs_from.is_not(None)).values(signs_from=at))


@pytest.mark.promise("P5")
def test_the_key_that_signs_is_changed_when_it_is_old_enough_and_the_audit_says_so(server: Running) -> None:
    keyring, days = server.cloud.authenticator.keyring, server.cloud.settings.signing_key_days
    before = keyring.keys
    published = {key["kid"] for key in before.public}
    server.run(turn_signing_key(server.cloud))
    assert keyring.keys.signing.kid == before.signing.kid
    server.run(_made(server, days * DAY_MS))
    server.run(turn_signing_key(server.cloud))
    after = keyring.keys
    assert after.signing.kid in published - {before.signing.kid}  # it was published before it signs
    assert before.signing.kid in after.verifying
    newest = server.admin.get("/tenant/audit", limit=50).ok()["items"]
    assert after.signing.kid in [row["target"] for row in newest if row["action"] == "key.rotate_signing"]
