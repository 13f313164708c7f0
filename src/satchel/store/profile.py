"""Credentials from a named profile of ``~/.aws/credentials``, as the AWS tools write it.

The file is read anew from time to time, so that whoever rotates the keys in it need not restart anything.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from satchel.errors import ConfigInvalid

if TYPE_CHECKING:
    from obstore.store import S3Credential

_TRUSTED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile of a credentials file; called by obstore whenever what it got has expired."""

    name: str
    file: Path

    def __call__(self) -> S3Credential:
        """Raises ``ConfigInvalid`` without repeating anything of the file but the name of the profile."""
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(self.file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigInvalid(f"the file of AWS credentials cannot be read: {error.strerror}") from None
        except (configparser.Error, UnicodeDecodeError):
            raise ConfigInvalid("the file of AWS credentials cannot be understood") from None
        if not parser.has_section(self.name):
            raise ConfigInvalid(f"the file of AWS credentials has no profile {self.name!r}")
        section = parser[self.name]
        key, secret = section.get("aws_access_key_id"), section.get("aws_secret_access_key")
        if not key or not secret:
            raise ConfigInvalid(
                f"the profile {self.name!r} holds no pair of keys",
                hint="Profiles that name a role, single sign-on or a program are not read: "
                "let that program put its credentials into the environment.",
            )
        return {
            "access_key_id": key,
            "secret_access_key": secret,
            "token": section.get("aws_session_token"),
            "expires_at": datetime.now(UTC) + _TRUSTED,
        }
