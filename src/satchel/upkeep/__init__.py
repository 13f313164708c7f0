"""What an operator does to an installation: keys, verify, repair, collect, purge, backup, restore, rebuild."""
