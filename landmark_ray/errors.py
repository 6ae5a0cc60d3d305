"""The exception whose message is meant for people, and what makes texts fit to be shown."""

import re

_SECRETS = re.compile(r"""(?<=://)[^/\s'"]+@|(?<=\?)[^\s'"?=]+=[^\s'",;)]*(?<![:.])""")


class UserError(Exception):
    """A problem that a person can solve: one line that says what is wrong, where, and what to do.

    The command line prints it without a traceback, and exits with status 2.
    """


def shortened(error: BaseException) -> str:
    """Return the beginning of an error's text, in one line, for the message of a UserError.

    Secrets are replaced first, since a half of one would not be found afterwards.
    """
    text = redact_url(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def redact_url(text: str) -> str:
    """Replace the user, the password and the query of every URI in a text by `***`."""
    return _SECRETS.sub(lambda found: "***@" if found[0].endswith("@") else "***", text)
