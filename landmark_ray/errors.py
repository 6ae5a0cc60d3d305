"""The exception that is meant for people, and text that is safe to show them."""

import re

_SECRETS = re.compile(r"""(?<=://)[^/\s'"]+@|(?<=\?)[^\s'"?=]+=[^\s'",;)]*(?<![:.])""")


class UserError(Exception):
    """Something a person can mend: one line that says what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


def redact_url(text: str) -> str:
    """Replace the user, the password and the query of every URI in a text by `***`."""
    return _SECRETS.sub(lambda found: "***@" if found[0].endswith("@") else "***", text)
