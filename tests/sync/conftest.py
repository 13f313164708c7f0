"""A cloud in this process, with a tenant, a project and two folders that sync with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from satchel.objects.ids import ProjectId, TenantId
from satchel.sync.report import SyncReport
from satchel.sync.run import run
from satchel.worktree.walk import Worktree
from tests.sync.cloud import Cloud, InProcessPeer, folder


@dataclass
class Desk:
    """One person's folder and their way to the cloud."""

    worktree: Worktree
    peer: InProcessPeer
    project: ProjectId

    @property
    def root(self) -> Path:
        return self.worktree.root

    def sync(self, **how: object) -> SyncReport:
        return run(self.worktree, self.peer, self.project, **how)  # type: ignore[arg-type]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    (tmp_path / "cloud").mkdir()
    cloud = Cloud(tmp_path / "cloud")
    yield cloud
    cloud.close()


@pytest.fixture
def tenant(cloud: Cloud) -> TenantId:
    return cloud.tenant("acme")


@pytest.fixture
def project(cloud: Cloud, tenant: TenantId) -> ProjectId:
    return cloud.project(tenant)


@pytest.fixture
def ann(cloud: Cloud, tenant: TenantId, project: ProjectId, tmp_path: Path) -> Iterator[Desk]:
    worktree = folder(tmp_path / "ann")
    yield Desk(worktree, cloud.peer(tenant, "Ann"), project)
    worktree.close()


@pytest.fixture
def bob(cloud: Cloud, tenant: TenantId, project: ProjectId, tmp_path: Path) -> Iterator[Desk]:
    worktree = folder(tmp_path / "bob")
    yield Desk(worktree, cloud.peer(tenant, "Bob"), project)
    worktree.close()
