"""The settings of a server.

A server refuses an unknown ``SATCHEL_…`` variable: a misspelt limit must not be a silent default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from satchel.config.declared import PREFIX, checked, from_env, setting, settings_of
from satchel.config.machine import Machine
from satchel.errors import ConfigInvalid

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Everything ``satchel serve`` can be told."""

    data: Path = setting(  # noqa: RUF009 (a field specifier: its default is immutable)
        Path("satchel-data"), "Where the server keeps everything. Made with mode 0700 if absent.", kind="path"
    )
    host: str = setting(
        "127.0.0.1", "Address to listen on. Other than loopback needs a TLS-terminating proxy in front."
    )
    port: int = setting(
        8470, "TCP port to listen on; 0 takes any free one.", kind="number", unit="port", low=0, high=65_535
    )
    public_url: str = setting(
        "",
        "The address clients use, and the issuer of tokens, such as https://context.example.org. Default: host, port.",
    )
    root_key: str = setting("", "File holding the root key. Default: `root.key` in the data directory.")
    root_kms: str = setting(
        "", "Key service that wraps the root key made by the first start: `aws-kms:` and the key's ARN. Default: none."
    )
    database_url: str = setting(
        "",
        "The catalog's database, as the serving role: `postgresql://role:password@host/database`, or `sqlite:///FILE`. "
        "Default: `catalog.db` in the data directory (SQLite).",
        secret=True,
    )
    database_owner_url: str = setting(
        "", "The same as the role that owns the tables. Used by `satchel admin migrate` alone.", secret=True
    )
    database_connections: int = setting(
        12,
        "Most connections of this process to a database server.",
        kind="number",
        unit="connections",
        low=4,
        high=1_000,
    )
    store_url: str = setting(
        "",
        "Where sealed objects rest: a `file`, `s3`, `gs` or `az` URL without secrets. Default: `store` in the data "
        "directory.",
    )
    allowed_hosts: tuple[str, ...] = setting(
        (), "More Host names answered at /mcp, beside loopback, `host` and that of `public_url`.", kind="list"
    )
    allowed_origins: tuple[str, ...] = setting(
        (), "Origins of web pages that may call /mcp, beside the server's own.", kind="list"
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "Networks of the proxies in front, such as `10.0.0.0/8`. From these alone `proxy_header` is believed; of any "
        "other caller the audit keeps the address of the connection.",
        kind="list",
    )
    proxy_header: str = setting(
        "x-forwarded-for",
        "The header in which those proxies say who called. One that they set or remove in every request.",
        choices=("x-forwarded-for", "forwarded"),
    )
    client_documents: bool = setting(
        True,
        "Know OAuth clients by the address of their metadata document, which this server fetches. Switch it off where "
        "the server may not reach the internet: clients then register instead.",
        kind="switch",
    )
    fetch_loopback: bool = setting(
        False,
        "Let documents that clients name (client id metadata) come from this machine, over http too: for tests and "
        "development alone.",
        kind="switch",
    )
    oidc_issuer: str = setting(
        "",
        "Issuer of an external OpenID Connect provider, such as https://login.example.org/realms/acme. Default: none.",
    )
    oidc_client_id: str = setting("", "This server's client id at that provider: people can sign in by it.")
    oidc_client_secret: str = setting("", "The client secret, where the provider gave one.", secret=True)
    oidc_name: str = setting("your organisation", "What the button of the sign-in page calls the provider.")
    oidc_audience: str = setting(
        "", "The audience of the provider's access tokens that count here like our own. Default: they do not."
    )
    oidc_rules: tuple[str, ...] = setting(
        (),
        "Which claims bring which place: CLAIM:VALUE=TENANT:ROLE, such as `groups:acme-admins=acme:admin`, or "
        "`*=acme:member`. Without rules, people are where they were invited to.",
        kind="list",
    )
    oidc_trust_email: bool = setting(
        False,
        "The provider has checked every e-mail address it names: take it, and let it take over the account of that "
        "address here, whose password then counts no more.",
        kind="switch",
    )
    oidc_networks: tuple[str, ...] = setting(
        (), "Networks that are not public and that the provider is in, such as `10.20.0.0/16`.", kind="list"
    )
    log_format: str = setting(
        "auto", "Form of the log on stderr; auto: console on a terminal.", choices=("auto", "json", "console")
    )
    log_level: str = setting("info", "Least severity logged.", choices=("debug", "info", "warning", "error"))
    token_seconds: int = setting(600, "Life of an access token.", kind="number", unit="seconds", low=30, high=600)
    refresh_seconds: int = setting(
        30 * 86_400,
        "Life of a person's session, however often it is refreshed.",
        kind="number",
        unit="seconds",
        low=600,
        high=365 * 86_400,
    )
    signing_key_days: int = setting(
        30,
        "How long a key signs access tokens before the next takes its turn by itself; 0: only by command.",
        kind="number",
        unit="days",
        low=0,
        high=3_650,
    )
    credential_cache_seconds: int = setting(
        30,
        "How long a checked credential is trusted without another look. A change made through this server counts at "
        "once, and every write looks again.",
        kind="number",
        unit="seconds",
        low=0,
        high=300,
    )
    change_poll_ms: int = setting(
        200,
        "How often the catalog is asked for changes made through other nodes. What is remembered counts for a second "
        "after an answer.",
        kind="number",
        unit="milliseconds",
        low=20,
        high=900,
    )
    max_file_bytes: int = setting(
        8 * MIB, "Largest artifact accepted.", kind="number", unit="bytes", low=1_024, high=64 * MIB
    )
    max_json_bytes: int = setting(
        4 * MIB, "Largest JSON request body.", kind="number", unit="bytes", low=1_024, high=64 * MIB
    )
    max_sync_bytes: int = setting(
        4 * GIB, "Most bytes one sync may declare.", kind="number", unit="bytes", low=MIB, high=64 * GIB
    )
    body_idle_seconds: int = setting(
        20, "Longest pause inside a request body.", kind="number", unit="seconds", low=1, high=600
    )
    body_total_seconds: int = setting(
        60, "Longest time a request body may take.", kind="number", unit="seconds", low=1, high=86_400
    )
    sync_total_seconds: int = setting(
        3_600, "The same for the body of a sync.", kind="number", unit="seconds", low=1, high=86_400
    )
    tenant_concurrency: int = setting(
        64, "Requests of one tenant served at once; more are told to come back.", kind="number", low=1, high=10_000
    )
    tenant_listeners: int = setting(
        256,
        "Connections of one tenant that wait for new versions (`GET .../events`, subscriptions "
        "at `/mcp`) at once, on this node. A hundred resources that a subscription names count for one more.",
        kind="number",
        unit="listeners",
        low=1,
        high=100_000,
    )
    connections: int = setting(
        8_192,
        "Connections of clients at a time, as far as open files allow; beyond, the one idle for longest ends.",
        kind="number",
        unit="connections",
        low=16,
        high=1_000_000,
    )
    key_requests: int = setting(
        0,
        "Requests a minute of one key or member that has no limit of its own; 0: as many as come.",
        kind="number",
        unit="requests",
        low=0,
        high=10_000_000,
    )
    address_requests: int = setting(
        6_000,
        "Requests a minute of one address that come without a credential, or with one that does not count; 0: as many "
        "as come. Behind a proxy name it in `trusted_proxies`, or all clients have its address.",
        kind="number",
        unit="requests",
        low=0,
        high=10_000_000,
    )
    reader_threads: int = setting(
        4, "Threads that search and read documents.", kind="number", unit="threads", low=1, high=64
    )
    index_cache_bytes: int = setting(
        4 * GIB, "Disk the search indexes may take; the least used go first.", kind="number", unit="bytes", low=MIB
    )
    index_checkpoint_bytes: int = setting(
        8 * MIB,
        "Text of a project from which on its search index is also kept sealed in the store, for nodes that have none; "
        "0: never.",
        kind="number",
        unit="bytes",
        low=0,
    )
    store_cache_bytes: int = setting(
        GIB,
        "Disk for sealed bytes of a store that is elsewhere, to be read faster and while it does not answer; 0: none.",
        kind="number",
        unit="bytes",
        low=0,
    )
    store_wait_seconds: int = setting(
        20,
        "Longest wait for one answer of the store; then requests are refused at once until it answers again.",
        kind="number",
        unit="seconds",
        low=1,
        high=300,
    )
    quota_storage_bytes: int = setting(50 * 10**9, "Storage of a new tenant.", kind="number", unit="bytes", low=0)
    quota_projects: int = setting(1_000, "Projects of a new tenant.", kind="number", unit="projects", low=0)
    tenant_grace_days: int = setting(
        7,
        "How long a deleted tenant can be brought back before its keys are destroyed.",
        kind="number",
        unit="days",
        low=0,
        high=365,
    )
    backup_window_days: int = setting(
        7,
        "How long bytes that nothing needs any more stay in the store: a backup of the catalog as old as this can be "
        "restored without copies of the objects.",
        kind="number",
        unit="days",
        low=0,
        high=3_650,
    )
    collect_hours: int = setting(
        24, "How often the server collects by itself; 0: never.", kind="number", unit="hours", low=0, high=8_760
    )
    backup_url: str = setting("", "Where `satchel admin backup` keeps backups: a store of its own. Default: none.")
    backup_keep_days: int = setting(30, "How long a backup is kept.", kind="number", unit="days", low=1, high=3_650)
    key_backup_keep_days: int = setting(
        7,
        "How long a backup keeps the tenants' keys: after this long a deleted tenant is beyond recovery.",
        kind="number",
        unit="days",
        low=1,
        high=3_650,
    )
    metrics_port: int = setting(
        0,
        "TCP port of `/metrics`, apart from everything else; 0: none. Whoever reaches it may read it.",
        kind="number",
        unit="port",
        low=0,
        high=65_535,
    )
    metrics_host: str = setting(
        "127.0.0.1", "Address of `/metrics`: loopback, or one that only the monitoring reaches."
    )
    metrics_tenants: int = setting(
        0,
        "How many tenants are counted each by itself in `/metrics`, by their ids; 0: none.",
        kind="number",
        unit="tenants",
        low=0,
        high=1_000,
    )
    otlp_url: str = setting(
        "",
        "Collector that traces are sent to, by OTLP over HTTP, such as http://127.0.0.1:4318; needs the extra `otel`. "
        "Default: none are made.",
    )
    trace_percent: int = setting(
        1,
        "How many of a hundred requests are traced, beside those that one of the `trusted_proxies` says are.",
        kind="number",
        unit="percent",
        low=0,
        high=100,
    )
    drain_seconds: int = setting(
        0,
        "How long after SIGTERM requests are still taken, while `/api/v1/health/ready` says 503 already: time for a "
        "load balancer to notice.",
        kind="number",
        unit="seconds",
        low=0,
        high=600,
    )
    shutdown_seconds: int = setting(
        8, "How long running requests may finish after SIGTERM.", kind="number", unit="seconds", low=0, high=600
    )

    @property
    def root_key_path(self) -> Path:
        return Path(self.root_key) if self.root_key else self.data / "root.key"

    @property
    def catalog(self) -> str:
        return self.database_url or f"sqlite:///{(self.data / 'catalog.db').absolute()}"

    @property
    def catalog_file(self) -> Path:
        """The file of an embedded catalog."""
        return Path(self.catalog.removeprefix("sqlite:///"))

    @property
    def moved_catalog(self) -> Path:
        """What is left of an embedded catalog that was moved to PostgreSQL."""
        return self.data / "catalog.db.moved"

    @property
    def store(self) -> str:
        return self.store_url or (self.data / "store").absolute().as_uri()

    @property
    def url(self) -> str:
        """The address clients use, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url.rstrip("/") or f"http://{host}:{self.port}"


def server_settings(
    flags: Mapping[str, object] | None = None, env: Mapping[str, str] | None = None, file: Path | None = None
) -> ServerSettings:
    """The server's settings: ``flags`` (``None`` values are absent), then ``env``, then ``file``, then defaults.

    ``file`` is TOML with the names of ``ServerSettings``; ``SATCHEL_CONFIG`` names it where no flag does.
    Raises ``ConfigInvalid`` naming the setting, where it came from and what it may be.
    """
    env = os.environ if env is None else env
    for name, meant in unknown_variables(env).items():
        hint = f"Did you mean {meant}? " if meant else ""
        raise ConfigInvalid(f"{name} is not a setting of Satchel", hint=f"{hint}See docs/reference/settings.md.")
    if file is None and env.get(PREFIX + "CONFIG"):
        file = Path(env[PREFIX + "CONFIG"])
    values = _from_file(ServerSettings, file) if file else {}
    values |= from_env(ServerSettings, env)
    by_name = {s.name: s for s in settings_of(ServerSettings)}
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = checked(by_name[name], value, f"--{name.replace('_', '-')}")
    return ServerSettings(**values)


def unknown_variables(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The ``SATCHEL_…`` variables that nothing reads, and the setting that each may be meant for, or an empty text."""
    env = os.environ if env is None else env
    declared = (*settings_of(ServerSettings), *settings_of(Machine))
    known = {s.env for s in declared} | {s.env_file for s in declared if s.secret} | {PREFIX + "CONFIG"}
    unknown = sorted(name for name in env if name.startswith(PREFIX) and name not in known)
    names = [name.removeprefix(PREFIX) for name in known]
    near = {name: get_close_matches(name.removeprefix(PREFIX), names, 1, 0.75) for name in unknown}
    return {name: PREFIX + found[0] if found else "" for name, found in near.items()}


def _from_file(group: type[ServerSettings], file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"the settings file {file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigInvalid(f"the settings file {file} is not TOML: {error}") from error
    by_name = {s.name: s for s in settings_of(group)}
    for name in table:
        if name not in by_name:
            raise ConfigInvalid(f"{name!r} in {file} is not a setting of the server")
    return {name: checked(by_name[name], value, f"{name!r} in {file}") for name, value in table.items()}
