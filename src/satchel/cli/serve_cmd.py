"""``satchel serve``: the cloud service, told on one screen what an operator has to know."""

from __future__ import annotations

import importlib
import ipaddress
from typing import TYPE_CHECKING

import click

from satchel import __version__
from satchel.cli.face import Face, shown_path
from satchel.cli.verb import verb
from satchel.config.server import ServerSettings, server_settings
from satchel.errors import StartRefused

if TYPE_CHECKING:
    from satchel.server.serve import FirstStart, Prepared


@verb(
    "serve",
    examples=[
        ("satchel serve", "Start here, with the data in ./satchel-data; the first start prints an admin key."),
        ("satchel serve --data /var/lib/satchel --port 8470", "The same for a service manager."),
        ("satchel serve --check", "Say whether it would start, and start nothing."),
    ],
    gives=(
        "Before it serves: `version`, `url`, `data`, `firstStart`, `tenant`, `adminKey` (on the first start), "
        "`rootKey`, `rootKeyKept`."
    ),
    statuses=(0, 1, 2, 5, 6),
)
@click.option("--data", metavar="FOLDER", help="Where the server keeps everything (./satchel-data).")
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65_535), metavar="PORT", help="TCP port; 0 takes a free one (8470).")
@click.option("--public-url", metavar="URL", help="The address clients use, behind a proxy.")
@click.option("--check", is_flag=True, help="Make or check everything, say so, and stop.")
def command(
    face: Face, data: str | None, host: str | None, port: int | None, public_url: str | None, check: bool
) -> None:
    """Start the cloud service.

    Needs no configuration: the first start makes the data directory, the root key, a tenant and an admin key, and
    prints the key once, on stdout. Every setting is also an environment variable: docs/reference/settings.md.

    Stops cleanly on Ctrl-C and SIGTERM. Refuses to start, with the reason and the cure, on a wrong root key, a
    directory it cannot write, a taken port or data of a newer version.
    """
    settings = server_settings({"data": data, "host": host, "port": port, "public_url": public_url})
    try:
        # By name: what it needs comes with the extra, which the local tool does without.
        serving = importlib.import_module("satchel.server.serve")
    except ModuleNotFoundError as error:
        raise StartRefused(
            f"the server's packages are not installed ({error.name})",
            hint="Install them:  pip install 'satchel[server]'",
        ) from error
    prepared: Prepared = serving.prepare(settings)
    try:
        face.answer(_data(prepared), lambda: _banner(face, prepared))
        for warning in prepared.warnings:
            face.warn(warning)
        if check:
            face.note(f"Root key: {prepared.settings.root_key_path}, {prepared.root_kept}.")
            face.note("Checked: everything is in order. Nothing was started; without --check it would be.")
        else:
            serving.run(prepared)
    finally:
        prepared.listener.close()


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
    catalog = settings.catalog_url.partition("://")[0] or "SQLite"
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
    made = f'First start: created tenant "{first.tenant}" and root key {root_key}'
    face.line(f"{made}  {face.bold('← back this up; without it nothing can be read')}")
    face.line(f"Admin key (shown once):  {first.key}")
    face.line(f"Log in:  satchel login {settings.url}")


def _only_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
