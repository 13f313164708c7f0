"""Whether the server is up and what it stands on, for people and for machines that restart it. No credential needed."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from satchel import __version__
from satchel.server.access import cloud_of, known_parameters
from satchel.server.bodies import answer
from satchel.server.openapi import operation
from satchel.server.schemas import HealthReport, Live, Startup

router = APIRouter(tags=["health"])


@router.get(
    "/health", **operation("Status, version, uptime, and each dependency's state", answer=HealthReport, public=True)
)
async def health(request: Request) -> Response:
    return answer(await _report(request))


@router.get("/health/live", **operation("Whether the process answers at all", answer=Live, public=True))
async def live(request: Request) -> Response:
    known_parameters(request)
    return answer({"status": "ok"})


@router.get("/health/startup", **operation("Whether the server has begun", answer=Startup, public=True))
async def startup(request: Request) -> Response:
    """One that waits for what it stands on says so, with 200 as well: to start it anew would help nothing."""
    known_parameters(request)
    return answer({"status": "started"})


@router.get(
    "/health/ready",
    **operation(
        "Whether requests can be served now",
        answer=HealthReport,
        public=True,
        also={503: "The catalog does not answer, or the server was told to stop. The body is the same."},
    ),
)
async def ready(request: Request) -> Response:
    """Without its store a server goes on reading what it has, and refuses writes itself: it is degraded, and ready."""
    report = await _report(request)
    works = all(row["state"] == "ok" for row in report["dependencies"] if row["name"] == "catalog")
    return answer(report, 200 if works and not cloud_of(request).ending.is_set() else 503)


async def _report(request: Request) -> HealthReport:
    known_parameters(request)
    cloud = cloud_of(request)
    states = await cloud.dependencies()
    return {
        "status": "stopping" if cloud.ending.is_set() else "ok" if all(states.values()) else "degraded",
        "version": __version__,
        "uptimeSeconds": (cloud.clock() - cloud.started) // 1000,
        "dependencies": [{"name": name, "state": "ok" if good else "failed"} for name, good in states.items()],
    }
