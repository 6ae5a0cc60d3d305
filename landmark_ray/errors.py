"""The one exception that is meant for people."""


class UserError(Exception):
    """Something a person can mend: one line that says what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """
