"""OAuth scopes and the caps on roles that they stand for. A token never does more, whatever its person may."""

from __future__ import annotations

from collections.abc import Mapping

from satchel.auth.roles import Role

SCOPES: Mapping[str, Role] = {
    "satchel:read": Role.READ,
    "satchel:write": Role.WRITE,
    "satchel:admin": Role.ADMIN,
}
"""By name, narrowest first; each includes those before it."""
DEFAULT = Role.READ
"""What who names no scope asks for."""


def scope_of(text: str) -> Role | None:
    """The cap that a list of scopes asks for, the widest of them; None where one is not known."""
    names = text.split(" ") if text else []
    if not all(name in SCOPES for name in names):
        return None
    return max((SCOPES[name] for name in names), default=DEFAULT)


def scope_text(cap: Role) -> str:
    """All scopes that a cap includes."""
    return " ".join(name for name, role in SCOPES.items() if role <= cap)


def scope_for(role: Role) -> str:
    """The scope that allows a role."""
    return next(name for name, cap in SCOPES.items() if cap is role)
