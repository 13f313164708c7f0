"""A bill of materials (CycloneDX 1.6, JSON) of what a lock file installs.

    python scripts/sbom.py requirements/server.txt > server.cdx.json

Names and versions come from the lock, licences and dependencies from the packages as they are installed here. The same
lock and time give the same bytes. Packages for systems that Satchel does not run on are left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINNED = re.compile(r"^([a-z0-9-]+)==([^ ;\\]+)(?: ; ([^\\]+?))? *\\?$", re.MULTILINE)
PLACES = [
    {"sys_platform": platform, "python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0"}
    for platform in ("linux", "darwin")
    for minor in range(11, 15)
]


def pinned(lock: Path) -> dict[str, str]:
    """The version of each package that a lock file installs on one of our systems."""
    return {
        name: version
        for name, version, marker in PINNED.findall(lock.read_text(encoding="utf-8"))
        if not marker or any(Marker(marker).evaluate(place) for place in PLACES)
    }


def bill(lock: Path, version: str, moment: datetime, wheel: Path | None = None) -> str:
    """The bill of ``lock`` for this version of Satchel, as text; ``wheel`` adds the hash of the package itself."""
    packages = pinned(lock)
    own = Component(
        type=ComponentType.APPLICATION,
        name="satchel",
        version=version,
        bom_ref="satchel",
        purl=PackageURL("pypi", name="satchel", version=version),
        licenses=[LicenseExpression("Apache-2.0")],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256(wheel.read_bytes()).hexdigest())] if wheel else (),
    )
    parts = {
        name: Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=pin,
            bom_ref=f"{name}@{pin}",
            purl=PackageURL("pypi", name=name, version=pin),
            licenses=_licences(name),
        )
        for name, pin in packages.items()
    }
    made = Bom(components=parts.values(), serial_number=uuid5(NAMESPACE_URL, f"{version} {lock.read_text()}"))
    made.metadata.timestamp = moment
    made.metadata.component = own
    needed = set(parts)
    for name, part in parts.items():
        below = set(_needs(name)) & set(parts) - {name}
        needed -= below
        made.register_dependency(part, [parts[other] for other in sorted(below)])
    direct = (set(_needs("satchel")) & set(parts)) | needed
    made.register_dependency(own, [parts[other] for other in sorted(direct)])
    text = str(JsonV1Dot6(made).output_as_string(indent=1)) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise ValueError(f"the bill of {lock.name} is not valid CycloneDX: {wrong}")
    return text


def _needs(name: str) -> Iterator[str]:
    """What a package requires, whichever of its extras is asked for: the lock says which of these are there."""
    try:
        requirements = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # a backport that this Python does not need
        return
    for text in requirements:
        yield canonicalize_name(Requirement(text).name)


def _licences(name: str) -> list[DisjunctiveLicense | LicenseExpression]:
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return []
    if "License-Expression" in about:
        return [LicenseExpression(about["License-Expression"])]
    named = [text.rpartition(" :: ")[2] for text in about.get_all("Classifier") or [] if "License ::" in text]
    named = [text for text in named if text != "OSI Approved"]
    if not named and "License" in about:
        named = about["License"].strip().split("\n")[:1]
    return [DisjunctiveLicense(name=text) for text in named if text]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    from satchel import __version__

    print(bill(Path(sys.argv[1]), __version__, datetime.now(UTC)), end="")
