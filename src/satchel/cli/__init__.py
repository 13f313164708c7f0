"""The command line: one file per verb, loaded by name on use. The one room that prints, exits and reads argv."""

import gc

# A command loads modules, answers and ends: what the collector would find meanwhile is not worth the looking, which
# took a twentieth of `satchel search` (bench/startup.py). A long conversation with an agent is still collected.
gc.set_threshold(100_000, 50, 50)
