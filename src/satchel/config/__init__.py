"""The settings of a machine and of a server, each declared once.

A setting is a field of ``machine.Machine`` or ``server.ServerSettings``: its type, default, unit, bounds and meaning
stand in one place, its environment variable is ``SATCHEL_`` and the name in capitals, and
``docs/reference/settings.md`` is generated from the same declaration. Precedence: flag, environment, file, default.
Nothing else in Satchel reads the environment, and only the command line and the server read this package.
"""
