"""Where settings come from, what they may be, and that nothing else reads the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from satchel.config.declared import from_env, settings_of
from satchel.config.machine import Machine, machine
from satchel.config.reference import reference
from satchel.config.server import ServerSettings, server_settings, unknown_variables
from satchel.errors import ConfigInvalid


def test_a_flag_counts_before_the_environment_before_a_file_before_the_default(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('port = 1\nhost = "file"\nlog_level = "error"\nallowed_hosts = ["a", "b"]\n')
    env = {"SATCHEL_CONFIG": str(file), "SATCHEL_PORT": "2", "SATCHEL_HOST": "env", "PATH": "/bin"}
    found = server_settings({"port": 3, "data": None}, env)
    assert (found.port, found.host, found.log_level) == (3, "env", "error")
    assert found.allowed_hosts == ("a", "b")
    assert found.reader_threads == ServerSettings().reader_threads


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"SATCHEL_PROT": "1"}, "SATCHEL_PROT"),
        ({"SATCHEL_STORE_URL_FILE": "/run/store"}, "SATCHEL_STORE_URL_FILE"),  # no secret: nothing reads a file
        ({"SATCHEL_PORT": "many"}, "whole number"),
        ({"SATCHEL_PORT": "65536"}, "65535"),
        ({"SATCHEL_MAX_FILE_BYTES": "1"}, "1024"),
        ({"SATCHEL_LOG_LEVEL": "loud"}, "debug"),
        ({"SATCHEL_CONFIG": "/nowhere/at/all.toml"}, "cannot be read"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(env: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigInvalid, match=said):
        server_settings({}, env)


def test_a_file_with_an_unknown_or_broken_setting_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    for text, said in (
        ("prot = 1", "prot"),
        ("port = ", "TOML"),
        ("port = " + "1" * 5_000, "TOML"),
        ('port = "x"', "whole number"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigInvalid, match=said):
            server_settings({}, {}, file)


def test_a_variable_that_nothing_reads_is_named_with_what_may_be_meant() -> None:
    env = {
        "SATCHEL_PROT": "1",
        "SATCHEL_QUITE_OTHER_9": "1",
        "SATCHEL_KEY_FILE": "/k",
        "SATCHEL_CONFIG": "",
        "PATH": "/",
    }
    assert unknown_variables(env) == {"SATCHEL_PROT": "SATCHEL_PORT", "SATCHEL_QUITE_OTHER_9": ""}
    with pytest.raises(ConfigInvalid) as caught:
        server_settings({}, env)
    assert caught.value.hint.startswith("Did you mean SATCHEL_PORT?")


@pytest.mark.parametrize("group", [ServerSettings, Machine])
def test_every_secret_may_come_from_a_file_and_never_both_ways(group: type, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file\n")
    for setting in settings_of(group):
        if not setting.secret:
            continue
        assert from_env(group, {setting.env_file: str(file)}) == {setting.name: "from the file"}
        with pytest.raises(ConfigInvalid, match="both set"):
            from_env(group, {setting.env_file: str(file), setting.env: "x"})
        for wrong in (tmp_path, tmp_path / "absent"):
            with pytest.raises(ConfigInvalid, match=setting.env_file):
                from_env(group, {setting.env_file: str(wrong)})


def test_the_reference_tells_name_variable_default_limits_unit_and_secret_of_every_setting() -> None:
    lines = reference().splitlines()
    for setting in (*settings_of(ServerSettings), *settings_of(Machine)):
        [row] = [line for line in lines if line.startswith(f"| `{setting.name}` |")]
        _, _, variable, default, limits, unit, secret, meaning, _ = [cell.strip() for cell in row.split(" | ".strip())]
        assert f"`{setting.env}`" in variable
        assert (f"`{setting.env_file}`" in variable) == setting.secret == (secret == "secret")
        assert unit == (setting.unit or "–")
        assert default
        assert limits
        assert meaning == setting.doc


def test_a_list_is_separated_by_commas_and_an_empty_variable_is_none() -> None:
    env = {"SATCHEL_ALLOWED_HOSTS": "a.example, b.example,", "SATCHEL_PORT": ""}
    found = server_settings({}, env)
    assert found.allowed_hosts == ("a.example", "b.example")
    assert found.port == ServerSettings().port


def test_addresses_follow_from_data_host_and_port(tmp_path: Path) -> None:
    found = server_settings({"data": tmp_path / "d"}, {})
    assert found.url == "http://127.0.0.1:8470"
    assert found.root_key_path == tmp_path / "d" / "root.key"
    assert found.catalog.startswith("sqlite:///")
    assert found.store.startswith("file:///")
    assert server_settings({"public_url": "https://x.example/"}, {}).url == "https://x.example"
    assert server_settings({"host": "::1"}, {}).url == "http://[::1]:8470"


def test_the_machine_follows_the_xdg_folders_and_ignores_relative_ones() -> None:
    found = machine({"HOME": "/h", "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "relative", "NO_COLOR": "1"})
    assert (found.config_dir, found.state_dir, found.cache_dir) == (
        Path("/h/.config/satchel"),
        Path("/s/satchel"),
        Path("/h/.cache/satchel"),
    )
    assert found.no_color
    assert not found.debug


def test_a_secret_is_not_shown() -> None:
    found = machine({"SATCHEL_KEY": "stl_live_secret"})
    assert found.key == "stl_live_secret"
    assert "secret" not in repr(found)


def test_every_setting_says_what_it_means_and_every_number_its_bounds() -> None:
    for setting in settings_of(ServerSettings):
        assert setting.doc.endswith(".")
        assert setting.kind != "number" or setting.low is not None


def test_who_has_no_home_folder_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_number: int) -> object:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(ConfigInvalid, match="home folder"):
        machine({})
