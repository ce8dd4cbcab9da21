"""Errors that reach the user as one line."""


class UsageError(Exception):
    """Bad input: the message names the file, the field and the fix.

    The command line exits with code 2.
    """
