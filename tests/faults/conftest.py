from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.aftermath import Reference, referred
from tests.faults.puppets import Puppets
from tests.faults.scenes import SCENES, Scene, Stage
from tests.sync.cloud import Cloud


class Set(NamedTuple):
    """A scene on the disk that was built for it, and what comes of it without a crash. Copy the stage to play on it."""

    scene: Scene
    stage: Stage
    reference: Reference


@pytest.fixture(scope="session")
def puppets() -> Iterator[Puppets]:
    with Puppets() as running:
        yield running


@pytest.fixture(scope="session")
def set_of(puppets: Puppets, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Set]:
    made: dict[str, Set] = {}

    def built(name: str) -> Set:
        if name not in made:
            where: Path = tmp_path_factory.mktemp(name)
            scene, stage = SCENES[name], Stage.make(where / "built")
            with closing(Cloud(stage.where / "cloud")) as cloud:
                scene.build(stage, cloud)
            made[name] = Set(scene, stage, referred(scene, stage, where / "reference", puppets))
        return made[name]

    return built
