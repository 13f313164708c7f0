"""The command line: one file per verb, loaded by name on use. The one room that prints, exits and reads argv."""

import gc
import sys

# A command loads modules, answers and ends: what the collector would find meanwhile is not worth the looking, which
# took a twentieth of `satchel search` (bench/startup.py). A long conversation with an agent is still collected.
gc.set_threshold(100_000, 50, 50)

# A thread that writes what a pull brings, or hears the cloud, would wait ten times as long for one that computes: a
# tenth of a clone of 8,000 files.
sys.setswitchinterval(0.0005)
