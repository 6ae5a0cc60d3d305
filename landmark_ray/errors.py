"""The exception whose message is meant for people, and the removal of secrets from text."""

import re

_SECRETS = re.compile(r"""(?<=://)[^/\s'"]+@|(?<=\?)[^\s'"?=]+=[^\s'",;)]*(?<![:.])""")


class UserError(Exception):
    """A problem that a person can solve: one line that says what is wrong, where, and what to do.

    The command line prints it without a traceback, and exits with status 2.
    """


def redact_url(text: str) -> str:
    """Replace the user, the password and the query of every URI in a text by `***`."""
    return _SECRETS.sub(lambda found: "***@" if found[0].endswith("@") else "***", text)
