"""The one exception a user of Interplay has to know.

A message is one line: what was given, what was expected, what to do. The command line prints it on stderr and exits with
code 2; in Python it is an ordinary exception. A traceback is for our own bugs only.
"""


class InterplayError(Exception):
    """Something the user gave cannot be used; the message says what to change."""


class SkipSample(InterplayError):
    """One row cannot be used while others can: it is skipped, counted and named in the report."""


def is_failure(error: BaseException) -> bool:
    """Whether a library failed: an Exception, or a panic of one in Rust (tokenizers, safetensors), which is none."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def reason_of(error: BaseException, most: int = 200) -> str:
    """An error of another library on one line, cut to `most` characters.

    >>> reason_of(ValueError("two\\n lines")), reason_of(ValueError())
    ('two lines', 'ValueError')
    """
    return " ".join(str(error).split())[:most] or type(error).__name__
