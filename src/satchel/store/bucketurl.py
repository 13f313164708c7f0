"""The URL of a bucket, read and held to be free of secrets; ``urls`` has its forms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from satchel.errors import ConfigInvalid

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]\Z")
_PREFIX = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}(?:/[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}){0,7}\Z")
_WORD = re.compile(r"[a-z_]{1,30}\Z")
_SECRET = re.compile(r"key|secret|token|passw|sig|credential|sas|auth", re.IGNORECASE)
SERVICES = {  # and the options of each
    "s3": {"endpoint", "region", "path_style", "profile", "allow_http"},
    "gs": set[str](),
    "az": {"endpoint", "allow_http"},
}
FORMS = "Use file:///directory, s3://bucket, gs://bucket, az://account/container or memory://; see the guide, storage."


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """Where in which bucket a store is, and how the bucket is reached."""

    service: Literal["s3", "gs", "az"]
    bucket: str
    """Azure calls it a container."""
    prefix: str = ""
    """Before every name, without slashes around it."""
    account: str = ""
    """Azure alone."""
    endpoint: str = ""
    """Where a service other than the usual one is; empty for that."""
    region: str = ""
    path_style: bool = True
    """Whether the bucket is in the path of an address rather than in its host name."""
    profile: str = ""
    """Which part of ``~/.aws/credentials`` holds the credentials."""
    allow_http: bool = False

    @property
    def shown(self) -> str:
        """As people call it."""
        return f"{self.service}://{self.account + '/' if self.account else ''}{self.bucket}"


def bucket_place(url: str) -> BucketPlace:
    """The place that the URL of a bucket names. Raises ``ConfigInvalid``."""
    parts = urlsplit(url)
    service: Literal["s3", "gs", "az"] = parts.scheme  # type: ignore[assignment]  # told apart by the caller
    if "@" in parts.netloc or parts.fragment:
        raise _secret()
    options = _options(parts)
    account, path = (parts.netloc, parts.path.strip("/")) if service == "az" else ("", parts.path.strip("/"))
    bucket, _, prefix = path.partition("/") if service == "az" else (parts.netloc, "", path)
    if not _BUCKET.match(bucket) or (service == "az" and not _BUCKET.match(account)):
        what = "account or container" if service == "az" else "bucket"
        raise ConfigInvalid(f"the URL of the object store names no {what} that can exist", hint=FORMS)
    if prefix and not _PREFIX.match(prefix):
        raise ConfigInvalid(
            "the prefix in the URL of the object store cannot be used",
            hint="Use up to 8 parts of letters, digits, '-', '_' and '.', with slashes between them.",
        )
    allow_http = _flag(options, "allow_http", False)
    return BucketPlace(
        service=service,
        bucket=bucket,
        prefix=prefix,
        account=account,
        endpoint=_endpoint(options.get("endpoint", ""), allow_http),
        region=options.get("region", ""),
        path_style=_flag(options, "path_style", True),
        profile=options.get("profile", ""),
        allow_http=allow_http,
    )


def _options(parts: SplitResult) -> dict[str, str]:
    known = SERVICES[parts.scheme]
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known and _SECRET.search(name):
            raise _secret()
        if name not in known:
            allowed = ", ".join(sorted(known)) or "none"
            raise ConfigInvalid(f"a store at {parts.scheme}:// has no option {shown_word(name, '')}; it has {allowed}")
        if name in options or not value:
            raise ConfigInvalid(f"the option {name} of the object store is given twice or empty")
        options[name] = value
    return options


def _flag(options: dict[str, str], name: str, default: bool) -> bool:
    value = options.get(name)
    if value not in {None, "true", "false"}:
        raise ConfigInvalid(f"the option {name} of the object store is true or false")
    return default if value is None else value == "true"


def _endpoint(endpoint: str, allow_http: bool) -> str:
    if not endpoint:
        return ""
    try:
        parts = urlsplit(endpoint)
        parts.port  # noqa: B018 (reading it finds a port that is no number)
    except ValueError:
        raise ConfigInvalid("the endpoint of the object store cannot be read", hint=FORMS) from None
    if parts.username is not None or parts.query or parts.fragment:
        raise _secret()
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigInvalid("the endpoint of the object store is an address such as https://storage.example.org:9000")
    if parts.scheme == "http" and not allow_http:
        raise ConfigInvalid(
            "the endpoint of the object store is not encrypted", hint="Use https, or say allow_http=true as well."
        )
    return endpoint.rstrip("/")


def _secret() -> ConfigInvalid:
    return ConfigInvalid(
        "the URL of the object store holds what may be a secret",
        hint="Credentials come from the environment, a profile or the machine's role; see the guide, storage. "
        "A secret that was in a URL may have been shown already: replace it.",
    )


def shown_word(word: str, after: str = "://") -> str:
    """A word of the URL, if it can only be a word."""
    return word + after if _WORD.match(word) else "of this name"
