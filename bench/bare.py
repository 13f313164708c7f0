"""The least a FastAPI endpoint does: what an authenticated list of projects is compared with.

    python bench/bare.py PORT PROJECTS

One worker, served as Satchel is: uvicorn on uvloop with httptools, no access log. No credential, no database.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI

app = FastAPI()
FOUND = {
    "items": [
        {
            "id": f"prj_{number:026}",
            "slug": f"project-{number:03}",
            "description": "",
            "relations": [],
            "lineage": "lin_01k0000000000000000000",
            "version": 1,
            "digest": "0" * 64,
            "role": "admin",
            "createdAt": "2030-01-01T00:00:00Z",
            "archived": False,
            "damaged": 0,
        }
        for number in range(int(sys.argv[2]))
    ],
    "next": None,
}


@app.get("/api/v1/projects")
async def projects(limit: int = 100) -> dict[str, object]:
    return FOUND


uvicorn.run(app, port=int(sys.argv[1]), log_config=None, access_log=False, loop="uvloop", http="httptools")
