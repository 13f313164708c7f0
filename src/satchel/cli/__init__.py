"""The command line: one file per verb, loaded by name on use. The one room that prints, exits and reads argv."""
