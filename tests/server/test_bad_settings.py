"""Each setting, wrong: refused at the start, by the name of its variable, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from satchel.config.declared import Setting, settings_of
from satchel.config.server import ServerSettings, server_settings
from satchel.errors import ConfigInvalid, StartRefused
from satchel.server.serve import prepare

SETTINGS = settings_of(ServerSettings)


def wrong_values(setting: Setting) -> list[str]:
    """What a setting cannot be, by its kind."""
    if setting.kind == "number":
        bounds = [setting.low - 1] if setting.low is not None else []
        bounds += [setting.high + 1] if setting.high is not None else []
        return ["many", "1.5", "0x10", *map(str, bounds)]
    if setting.kind == "switch":
        return ["maybe", "2"]
    return ["no such choice"] if setting.choices else []


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_value_that_a_setting_cannot_have_is_refused_by_name(setting: Setting) -> None:
    for value in wrong_values(setting):
        with pytest.raises(ConfigInvalid, match=setting.env):
            server_settings({}, {setting.env: value})
    with pytest.raises(ConfigInvalid, match=setting.env + "S"):
        server_settings({}, {setting.env + "S": "misspelt"})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"public_url": "https://a b"}, "SATCHEL_PUBLIC_URL"),
        ({"public_url": "https://x:99999"}, "SATCHEL_PUBLIC_URL"),
        ({"public_url": "https://x.example/context"}, "SATCHEL_PUBLIC_URL has a path"),
        ({"public_url": "https://x.example//"}, "SATCHEL_PUBLIC_URL has a path"),
        ({"allowed_hosts": "a b"}, "SATCHEL_ALLOWED_HOSTS"),
        ({"allowed_hosts": "https://a.example"}, "SATCHEL_ALLOWED_HOSTS"),
        ({"allowed_origins": "app.example"}, "SATCHEL_ALLOWED_ORIGINS"),
        ({"allowed_origins": "https://app.example/path"}, "SATCHEL_ALLOWED_ORIGINS"),
        ({"backup_url": "ftp://x"}, "SATCHEL_BACKUP_URL"),
        ({"backup_url": "s3://"}, "SATCHEL_BACKUP_URL"),
        ({"backup_url": "s3://a/b/", "store_url": "s3://a/b"}, "SATCHEL_BACKUP_URL"),
        ({"trusted_proxies": "10.0.0.0/99"}, "10.0.0.0/99"),
        ({"oidc_networks": "here"}, "here"),
        ({"oidc_client_id": "x"}, "SATCHEL_OIDC_CLIENT_ID is set, and SATCHEL_OIDC_ISSUER is not"),
        ({"oidc_client_secret": "canary"}, "SATCHEL_OIDC_CLIENT_SECRET is set"),
        ({"oidc_rules": "*=acme:member"}, "SATCHEL_OIDC_RULES is set"),
        ({"oidc_trust_email": "1"}, "SATCHEL_OIDC_TRUST_EMAIL is set"),
        ({"oidc_issuer": "https://login.example"}, "SATCHEL_OIDC_ISSUER needs"),
        ({"database_url": "mysql://role:canary@host/x"}, "the catalog has to be"),
        ({"store_url": "s3://bucket?secret=canary"}, "may be a secret"),
        ({"root_kms": "vault:x"}, "names no key service"),
        ({"metrics_port": "8470"}, "SATCHEL_METRICS_PORT"),
    ],
    ids=lambda values: next(iter(values)) if isinstance(values, dict) else None,
)
def test_settings_that_cannot_be_meant_stop_the_start_and_nothing_is_made(
    values: dict[str, str], said: str, tmp_path: Path
) -> None:
    env = {f"SATCHEL_{name.upper()}": value for name, value in values.items()}
    with pytest.raises(ConfigInvalid, match=said) as caught:
        prepare(server_settings({"data": tmp_path / "data"}, env))
    assert caught.value.hint
    assert "canary" not in caught.value.message + caught.value.hint
    assert not (tmp_path / "data/catalog.db").exists()
    assert not (tmp_path / "data/root.key").exists()


def test_a_root_key_where_no_file_can_be_made_is_refused_with_what_to_do(tmp_path: Path) -> None:
    place = tmp_path / "no" / "such" / "root.key"
    with pytest.raises(StartRefused, match="cannot be made: No such file or directory") as caught:
        prepare(server_settings({"data": tmp_path / "data", "port": 0, "root_key": str(place)}, env={}))
    assert "SATCHEL_ROOT_KEY" in caught.value.hint
