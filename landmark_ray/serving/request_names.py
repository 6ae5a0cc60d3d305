"""What a request asks for by names: each is used, or refused with those that there are."""

import difflib
from collections.abc import Mapping, Sequence

from fastapi import Request

from landmark_ray.serving.api_errors import APIError


def unknown(name: str, known: Mapping[str, str], place: str) -> str:
    """Why a name isn't taken, without the last full stop.

    Args:
        name: that was given.
        known: names that there are, or that are easily given here -> how to give each.
        place: where it was given.
    """
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, 1)
    hint = f" (did you mean {known[close[0]]}?)" if close else ""
    have = ", ".join(full for short, full in known.items() if short == full) or "none"
    return f"There is no option {name[:80]!r} in {place}{hint}: there is {have}"


def check(given: Sequence[str], known: Sequence[str], place: str) -> None:
    """Names that were given.

    Raises:
        Refused: there is no such one, or it is given twice.
    """
    for name in given:
        if name not in known:
            sentence = unknown(name, dict(zip(known, known, strict=True)), place)
            raise APIError(422, f"{sentence}.", "option")
        if given.count(name) > 1:
            raise APIError(422, f"{name} is given twice in {place}: give it once.", "option")


async def check_query(request: Request) -> None:
    """A dependency of each route: the names in its query.

    Raises:
        Refused: there is no such one, or it is given twice.
    """
    given = [name for name, _ in request.query_params.multi_items()]
    if given:
        known = [field.alias for field in request.scope["route"].dependant.query_params]
        check(given, known, "the query")
