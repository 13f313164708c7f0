"""Chart, manifests, compose file and image agree with the code and each other; with their tools, `make deploy-test`."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from satchel.config.declared import settings_of
from satchel.config.server import ServerSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "satchel"
KNOWN = {s.env for s in settings_of(ServerSettings)} | {s.env_file for s in settings_of(ServerSettings) if s.secret}
SHELL = {"SATCHEL_SITE", "SATCHEL_IMAGE"}
"""Variables of Compose itself."""


def _manifests(folder: str) -> list[dict[str, Any]]:
    text = (DEPLOY / "kubernetes" / folder / "satchel.yaml").read_text()
    return [document for document in yaml.safe_load_all(text) if document]


def _pods(folder: str) -> Iterator[dict[str, Any]]:
    for document in _manifests(folder):
        if document["kind"] in {"Deployment", "Job"}:
            yield document["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    "path", [p for p in sorted(DEPLOY.rglob("*")) if p.is_file() and "secrets" not in p.parts], ids=lambda p: p.name
)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"\bSATCHEL_[A-Z0-9_]*[A-Z0-9]\b", path.read_text()))
    assert named - KNOWN - SHELL - {"SATCHEL_KEY"} == set()


@pytest.mark.parametrize("folder", ["small", "production"])
def test_pods_have_no_rights_they_do_not_need(folder: str) -> None:
    for pod in _pods(folder):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_a_pod_has_the_time_that_its_drain_takes_and_none_is_missed() -> None:
    [deployment] = [one for one in _manifests("production") if one["kind"] == "Deployment"]
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    needed = int(env["SATCHEL_DRAIN_SECONDS"]) + int(env["SATCHEL_SHUTDOWN_SECONDS"])
    needed += container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > needed
    probe = container["readinessProbe"]
    unnoticed = probe["periodSeconds"] * probe["failureThreshold"]
    assert unnoticed <= int(env["SATCHEL_DRAIN_SECONDS"]) + container["lifecycle"]["preStop"]["sleep"]["seconds"]


def test_nothing_reaches_pods_but_what_a_policy_names() -> None:
    policies = [one["spec"] for one in _manifests("production") if one["kind"] == "NetworkPolicy"]
    assert len(policies) == 2
    assert all(policy["policyTypes"] == ["Ingress", "Egress"] for policy in policies)


def test_the_chart_carries_the_alerts_and_takes_its_own_defaults_and_value_sets() -> None:
    assert (CHART / "files" / "alerts.yaml").read_text() == (DEPLOY / "observe" / "alerts.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(defaults) | {"global"} == set(schema["properties"])
    Draft7Validator.check_schema(schema)
    for values in sorted((CHART / "ci").glob("*.yaml")):
        Draft7Validator(schema).validate({**defaults, **yaml.safe_load(values.read_text())})


def test_the_recipes_name_what_the_chart_and_the_settings_know() -> None:
    text = (ROOT / "docs/guide/operate/recipes.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == ["yaml"] * 3 + ["toml"] * 2
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    for kind, block in blocks:
        if kind == "yaml":
            Draft7Validator(schema).validate(merged(defaults, yaml.safe_load(block)))
        else:
            tomllib.loads(block)
    assert set(re.findall(r"\bSATCHEL_[A-Z0-9_]*[A-Z0-9]\b", text)) <= KNOWN


def merged(under: Any, over: Any) -> Any:
    """As Helm lays values over the chart's own."""
    if not isinstance(under, dict) or not isinstance(over, dict):
        return over
    return {**under, **{name: merged(under.get(name), value) for name, value in over.items()}}


def test_every_service_of_compose_is_held_hard_and_no_secret_is_in_the_file() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["profiles"], name
        for variable, value in service.get("environment", {}).items():
            assert "password" not in str(value).lower() or variable.endswith("_FILE"), name
    made = {secret["file"] for secret in compose["secrets"].values()}
    script = (DEPLOY / "compose" / "secrets.sh").read_text()
    names = [*re.findall(r"^(?:keep|\[ -s) (\w+)", script, re.MULTILINE), "tls_certificate"]
    assert made == {f"compose/secrets/{name}" for name in names}


@pytest.mark.system("openssl")
def test_secrets_of_compose_are_made_once_and_behind_a_folder_of_ones_own(tmp_path: Path) -> None:
    script = tmp_path / "compose" / "secrets.sh"
    script.parent.mkdir()
    script.write_bytes((DEPLOY / "compose" / "secrets.sh").read_bytes())
    before: dict[str, bytes] = {}
    for _ in range(2):
        subprocess.run(["sh", str(script)], check=True, timeout=60)
        made = {path.name: path.read_bytes() for path in (script.parent / "secrets").iterdir()}
        assert before in ({}, made)
        before = made
    assert stat.S_IMODE((script.parent / "secrets").stat().st_mode) == 0o700
    assert b"".join(before.values()).count(before["database_serve_password"].strip()) == 2
    key = json.loads(before["s3_server"])["identities"][0]["credentials"][0]["secretKey"]
    assert key.encode() in before["s3_credentials"]
    assert len({before[name] for name in before if name.endswith("password")}) == 3
    assert len(before["root_key"]) == 32


def test_the_proxy_of_compose_lets_connections_go_before_a_node_that_drains_does() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    proxy = (DEPLOY / "compose" / "nginx.conf").read_text()
    kept = re.search(r"^        keepalive_timeout (\d+)s;", proxy, re.MULTILINE)
    assert kept
    nodes = re.findall(r"server (satchel-\d):8470", proxy)
    assert nodes == [name for name in compose["services"] if re.fullmatch(r"satchel-\d", name)]
    for name in nodes:
        assert int(compose["services"][name]["environment"]["SATCHEL_DRAIN_SECONDS"]) > int(kept.group(1))


def test_the_image_runs_as_nobody_else_on_a_base_named_by_its_digest() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert "--require-hashes" in text
    assert re.search(r"^ARG BASE=python:3\.1[1-9]\.\d+-slim-\w+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert not any("deploy" in line or "satchel-data" in line for line in ignored)
