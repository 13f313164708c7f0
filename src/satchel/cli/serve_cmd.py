"""``satchel serve``: the cloud service, told on one screen what an operator has to know."""

from __future__ import annotations

import asyncio
import http.client
import importlib
import ipaddress
import os
import signal
from typing import TYPE_CHECKING

import click

from satchel import __version__
from satchel.cli.face import Face, plural, shown_path
from satchel.cli.verb import verb
from satchel.config.server import ServerSettings, server_settings
from satchel.errors import ServerAway, StartRefused

if TYPE_CHECKING:
    from satchel.server.checks import Survey
    from satchel.server.serve import FirstStart, Prepared


PROBE_SECONDS = 8.0
"""Longest wait for the answer to a probe; what starts it waits for ten."""
PROBE_HINT = "Its log says what it is doing; `satchel serve --check` what it stands on."


@verb(
    "serve",
    examples=[
        ("satchel serve", "Start here, with the data in ./satchel-data; the first start prints an admin key."),
        ("satchel serve --data /var/lib/satchel --port 8470", "The same for a service manager."),
        ("satchel serve --check", "Show what it would stand on: store, catalog, clock, keys; start nothing."),
    ],
    gives=(
        "Before it serves: `version`, `url`, `data`, `firstStart`, `tenant`, `adminKey` (on the first start), "
        "`rootKey`, `rootKeyKept`. With `--check` also `checks`: `name`, `state` (`ok`, `new`, `warning`, `failed`), "
        "`found`, `hint`, `ms` each; where it would not start, they come with the error."
    ),
    statuses=(0, 1, 2, 5, 6),
)
@click.option("--data", metavar="FOLDER", help="Where the server keeps everything (./satchel-data).")
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65_535), metavar="PORT", help="TCP port; 0 takes a free one (8470).")
@click.option("--public-url", metavar="URL", help="The address clients use, behind a proxy.")
@click.option("--probe", is_flag=True, help="Ask the server that runs here whether it is ready; status 0 or 6.")
@click.option("--check", is_flag=True, help="Look at everything it stands on, show what was found, and stop.")
def command(
    face: Face, data: str | None, host: str | None, port: int | None, public_url: str | None, check: bool, probe: bool
) -> None:
    """Start the cloud service.

    Needs no configuration: the first start makes the data directory, the root key, a tenant and an admin key, and
    prints the key once, on stdout. Every setting is also an environment variable: docs/reference/settings.md.

    --check looks at settings, data directory, address, store, catalog, migrations, clock and root key, asks each that
    is elsewhere, and shows all that is wrong at once; its exit status is that of the start. It makes what a first start
    makes, if all is well, so that the admin key can be had before anything serves.

    Stops cleanly on Ctrl-C and SIGTERM. Refuses to start, with the reason and the cure, on a wrong root key, a
    directory it cannot write, a taken port or data of a newer version. While its database or store is away it waits,
    says so in the log and to probes, and starts by itself.
    """
    settings = server_settings({"data": data, "host": host, "port": port, "public_url": public_url})
    if probe:
        _probe(face, settings)
        return
    if not check:
        # The first process of a container is sent away by SIGTERM only if it says how, also before it serves. At once:
        # nobody is served yet, whatever is half made is as it is after a kill, and a thread that asks a key service
        # would be waited for.
        signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    try:
        # By name: what it needs comes with the extra, which the local tool does without.
        serving = importlib.import_module("satchel.server.serve")
    except ModuleNotFoundError as error:
        raise StartRefused(
            f"the server's packages are not installed ({error.name})",
            hint="Install them:  pip install 'satchel[server]'",
        ) from error
    looked = importlib.import_module("satchel.server.checks") if check else None
    survey: Survey | None = asyncio.run(looked.survey(settings)) if looked else None
    if survey is not None:
        _told(face, survey)
    prepared: Prepared = serving.prepare(settings, wait=not check)
    try:
        checks = {} if survey is None else {"checks": _rows(survey)}
        face.answer({**_data(prepared), **checks}, lambda: _banner(face, prepared))
        for warning in prepared.warnings:
            face.warn(warning)
        if check:
            face.note(f"Root key: {prepared.settings.root_key_path}, {prepared.root_kept}.")
            warned = sum(row.state == "warning" for row in survey.rows) if survey else 0
            said = f"it would start, with {plural(warned, 'warning')}" if warned else "everything is in order"
            face.note(f"Checked: {said}. Nothing was started; without --check it would be.")
        else:
            serving.run(prepared)
    finally:
        prepared.close()


def _probe(face: Face, settings: ServerSettings) -> None:
    """Ask as a container's health check does. Raises ``ServerAway`` unless the server here is ready."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104  # not to listen on
    connection = http.client.HTTPConnection(host, settings.port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/api/v1/health/ready")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise ServerAway(f"no server answers at {host} port {settings.port}", hint=PROBE_HINT) from error
    finally:
        connection.close()
    if status != 200:
        raise ServerAway(f"the server at {host} port {settings.port} is not ready ({status})", hint=PROBE_HINT)
    face.note("Ready.")


def _told(face: Face, survey: Survey) -> None:
    """Show what was found. Raises the first reason why the server would not start."""
    width = max(len(row.name) for row in survey.rows)
    for row in survey.rows:
        state = row.state if row.state == "ok" else face.bold(row.state)
        padding = " " * (7 - len(row.state))
        face.line(f"{row.name:{width}}  {state}{padding}  {row.found}  {face.dim(f'{row.ms} ms')}")
        ends_with_it = survey.error is not None and row.found == survey.error.message
        if row.hint and row.state in ("warning", "failed") and not ends_with_it:
            face.line(f"{'':{width}}           {row.hint}")
    if survey.error is not None:
        survey.error.facts["checks"] = _rows(survey)
        raise survey.error


def _rows(survey: Survey) -> list[dict[str, object]]:
    return [row._asdict() for row in survey.rows]


def _data(prepared: Prepared) -> dict[str, object]:
    first = prepared.first
    return {
        "version": __version__,
        "url": prepared.settings.url,
        "data": str(prepared.settings.data),
        "firstStart": first is not None,
        "tenant": first.tenant if first else None,
        "adminKey": first.key if first else None,
        "rootKey": str(prepared.settings.root_key_path),
        "rootKeyKept": prepared.root_kept,
    }


def _banner(face: Face, prepared: Prepared) -> None:
    settings = prepared.settings
    catalog = "PostgreSQL" if settings.database_url.startswith("postgres") else "SQLite"
    kinds = f"{catalog}, {'sealed in ' + settings.store_url if settings.store_url else 'local sealed storage'}"
    data = shown_path(settings.data.absolute(), face.cwd)
    face.line(f"Satchel {__version__}   data {data} ({kinds})   {settings.url}   docs at /docs")
    if prepared.first is not None:
        _first(face, prepared.first, settings)
    if not _only_here(settings.host):
        face.warn(
            f"listening on {settings.host} without TLS: put a TLS-terminating proxy in front; see the guide, deploy"
        )
    elif prepared.first is not None:
        face.line("Not for the internet as it is: there is no TLS here. See docs/guide/deploy.md")


def _first(face: Face, first: FirstStart, settings: ServerSettings) -> None:
    root_key = shown_path(first.root_key.absolute(), face.cwd)
    made = f'First start: tenant "{first.tenant}", root key {root_key}'
    face.line(f"{made}  {face.bold('← back this up; without it nothing can be read')}")
    face.line(f"Admin key (shown once):  {first.key}")
    face.line(f"Log in:  satchel login {settings.url} --key-file -")


def _only_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
