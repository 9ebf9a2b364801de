"""The command line: `recserve <command>`. See `recserve --help`.

One module per command. Their top levels import nothing heavy, so that help appears at once; a command imports what it
needs when it runs. A command prints tables for people and, with `--json`, one JSON document for programs.

Exit codes: 0 done; 1 a check or our own code failed; 2 wrong usage, config or input.
"""

from recserve.cli.app import main

__all__ = ["main"]
