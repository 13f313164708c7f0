"""The decision, over every combination of what a principal can hold."""

from __future__ import annotations

from itertools import product

import pytest

from satchel.auth.policy import ABSENT, ALLOW, Action, Verdict, decide, reads_everything, role_on
from satchel.auth.roles import Principal, Role, TenantRole
from satchel.objects.ids import PrincipalId, ProjectId, TenantId

PROJECT = ProjectId("prj_this")
OTHER = ProjectId("prj_other")
RANK = {None: 0, Role.READ: 1, Role.WRITE: 2, Role.ADMIN: 3}
ROLES = (None, Role.READ, Role.WRITE, Role.ADMIN)


def principal(
    *,
    tenant_role: TenantRole = TenantRole.MEMBER,
    grant: Role | None = None,
    all_projects: Role | None = None,
    scope: Role | None = None,
    operator: bool = False,
) -> Principal:
    return Principal(
        tenant=TenantId("ten_a"),
        id=PrincipalId("key_a"),
        name="a",
        kind="key",
        tenant_role=tenant_role,
        grants={} if grant is None else {PROJECT: grant},
        all_projects=all_projects,
        scope=scope,
        operator=operator,
    )


EVERYONE = [
    principal(tenant_role=tenant_role, grant=grant, all_projects=wide, scope=scope, operator=operator)
    for tenant_role, grant, wide, scope, operator in product(TenantRole, ROLES, ROLES, ROLES, (False, True))
]


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("action", "needed"), [(Action.PROJECT_READ, 1), (Action.PROJECT_WRITE, 2), (Action.PROJECT_ADMIN, 3)]
)
def test_a_project_opens_to_the_best_role_under_the_cap_and_is_absent_to_whoever_has_none(
    action: Action, needed: int
) -> None:
    for who in EVERYONE:
        best = max(
            RANK[who.grants.get(PROJECT)], RANK[who.all_projects], 3 * (who.tenant_role is not TenantRole.MEMBER)
        )
        held = min(best, RANK[who.scope] if who.scope else 3)
        decision = decide(who, action, PROJECT)
        expected = Verdict.ABSENT if best == 0 else Verdict.ALLOW if held >= needed else Verdict.INSUFFICIENT
        assert decision.verdict is expected, who
        assert (decision.needs != "") == (expected is Verdict.INSUFFICIENT)


@pytest.mark.promise("P5")
def test_a_grant_on_one_project_says_nothing_of_another() -> None:
    for role in Role:
        assert decide(principal(grant=role), Action.PROJECT_READ, OTHER) is ABSENT
        assert role_on(principal(grant=role), OTHER) is None


def test_the_tenant_is_administered_by_its_admins_and_owners_without_a_cap() -> None:
    for who in EVERYONE:
        able = who.tenant_role is not TenantRole.MEMBER and who.scope in (None, Role.ADMIN)
        decision = decide(who, Action.TENANT_ADMIN)
        assert decision.verdict is (Verdict.ALLOW if able else Verdict.INSUFFICIENT), who
        assert decide(who, Action.TENANT_READ) is ALLOW
        assert decide(who, Action.TENANT_LEAVE).allowed is (who.scope in (None, Role.ADMIN)), who


def test_projects_are_created_by_whoever_writes_everywhere() -> None:
    for who in EVERYONE:
        wide = who.tenant_role is not TenantRole.MEMBER or who.all_projects in (Role.WRITE, Role.ADMIN)
        able = wide and who.scope is not Role.READ
        assert decide(who, Action.PROJECT_CREATE).allowed is able, who


@pytest.mark.promise("P5")
def test_the_operators_powers_are_absent_to_everyone_else_and_open_no_project() -> None:
    for who in EVERYONE:
        able = who.operator and who.scope in (None, Role.ADMIN)
        assert decide(who, Action.OPERATE) is (ALLOW if able else ABSENT), who
    assert decide(principal(operator=True), Action.PROJECT_READ, PROJECT) is ABSENT
    assert decide(principal(operator=True), Action.TENANT_ADMIN).verdict is Verdict.INSUFFICIENT


def test_a_list_needs_no_filter_exactly_when_every_project_can_be_read() -> None:
    for who in EVERYONE:
        assert reads_everything(who) is decide(who, Action.PROJECT_READ, OTHER).allowed, who


def test_roles_are_ordered() -> None:
    assert sorted(Role, reverse=True) == [Role.ADMIN, Role.WRITE, Role.READ]
    assert sorted(TenantRole) == [TenantRole.MEMBER, TenantRole.ADMIN, TenantRole.OWNER]


def test_a_question_about_a_project_has_to_name_it() -> None:
    with pytest.raises(ValueError, match="one project"):
        decide(principal(), Action.PROJECT_READ)
