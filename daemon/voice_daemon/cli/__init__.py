"""The command line: one module a command, declared in one light parser."""
