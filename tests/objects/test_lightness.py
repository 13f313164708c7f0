from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.system
@pytest.mark.promise("P1")
def test_what_the_local_tool_needs_of_objects_loads_no_network_asyncio_or_cryptography() -> None:
    program = (
        "import sys; import satchel.objects.frame, satchel.objects.pack, satchel.objects.paths;"
        "import satchel.objects.listing, satchel.objects.ids, satchel.objects.zstd;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "backports" in loaded or "compression" in loaded
    assert not {"socket", "ssl", "asyncio", "cryptography", "pydantic", "json"} & set(loaded)
