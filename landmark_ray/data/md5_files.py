"""Files with the md5 of another, as tools of GNU, BSD, macOS, OpenSSL and Windows write them."""

import codecs
import re

_MD5 = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{32}(?![0-9a-fA-F])")
_BETWEEN = re.compile(r"\((.*)\)")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def md5_for(data: bytes, name: str) -> str | None:
    """The md5 that a file says of another, in small letters; None where it says none.

    Args:
        data: the file. If it says several, the one beside the other's name is meant.
        name: of the other, without folders.
    """
    text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig", errors="replace")
    found = [
        (m[0].lower(), _name(line, m)) for line in text.splitlines() if (m := _MD5.search(line))
    ]
    named = {md5 for md5, of in found if of == name}
    every = named or {md5 for md5, _ in found}
    return every.pop() if len(every) == 1 else None


def _name(line: str, md5: re.Match[str]) -> str:
    """Of what file a line speaks."""
    rest = line[: md5.start()] + line[md5.end() :]
    between = _BETWEEN.search(rest)
    name = between[1] if between else rest.strip(" \t*\\")
    return re.split(r"[/\\]", name)[-1]
