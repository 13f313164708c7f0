"""Says clearly, before anything is installed, when this Python cannot run Satchel. Written for any Python 3."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this is the place that looks
    found = sys.version.split()[0]
    sys.exit(
        "Satchel needs Python 3.11 or newer, and python3 here is "
        + found
        + ". Name another: make PYTHON=python3.12 ..."
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit("This Python has no venv module. On Debian and Ubuntu: apt-get install python3-venv")
