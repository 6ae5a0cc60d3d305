"""Files that hold the md5 of another file, as GNU, BSD, macOS, OpenSSL and Windows write them."""

import codecs
import re

_MD5 = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{32}(?![0-9a-fA-F])")
_BETWEEN = re.compile(r"\((.*)\)")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def md5_for(data: bytes, name: str) -> str | None:
    """Return the md5 of another file in lower case, or None if there is none, or no single one.

    Args:
        data: Content of the file. If it holds several md5s, the one beside `name` is taken.
        name: Name of the other file, without folders.
    """
    text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig", errors="replace")
    lines = [
        (m[0].lower(), _name(line, m)) for line in text.splitlines() if (m := _MD5.search(line))
    ]
    named = {md5 for md5, of in lines if of == name}
    candidates = named or {md5 for md5, _ in lines}
    return candidates.pop() if len(candidates) == 1 else None


def _name(line: str, md5: re.Match[str]) -> str:
    """Return the name of the file that a line is about, without folders."""
    rest = line[: md5.start()] + line[md5.end() :]
    between = _BETWEEN.search(rest)
    name = between[1] if between else rest.strip(" \t*\\")
    return re.split(r"[/\\]", name)[-1]
