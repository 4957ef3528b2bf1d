"""The command line: a thin shell over the library. stdout is data, stderr is talk, exit codes are honest."""

from interplay.cli.app import main

__all__ = ["main"]
