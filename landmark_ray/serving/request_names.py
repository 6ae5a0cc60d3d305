"""Checks of the names in a request: an unknown name is an error that lists the known ones."""

import difflib
from collections.abc import Mapping, Sequence

from fastapi import Request

from landmark_ray.serving.api_errors import APIError


def explain_unknown(name: str, known: Mapping[str, str], where: str) -> str:
    """Say that a name is unknown, in a sentence without its full stop.

    Args:
        name: The name in the request.
        known: Names that can be meant -> how to write them; the two differ where a name belongs
            elsewhere, such as top_k -> parameters.top_k.
        where: The part of the request that has the name.
    """
    name = name[:80]  # difflib takes seconds for one of some megabytes
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, 1)
    hint = f" (did you mean {known[close[0]]}?)" if close else ""
    here = ", ".join(full for short, full in known.items() if short == full) or "none"
    return f"There is no option {name!r} in {where}{hint}: there is {here}"


def check_names(given: Sequence[str], known: Sequence[str], where: str) -> None:
    """Check that every name is known and occurs once.

    Raises:
        APIError: A name is unknown, or occurs twice.
    """
    for name in given:
        if name not in known:
            text = explain_unknown(name, dict(zip(known, known, strict=True)), where)
            raise APIError(422, f"{text}.", "option")
        if given.count(name) > 1:
            raise APIError(422, f"{name} is given twice in {where}: give it once.", "option")


async def check_query(request: Request) -> None:
    """Check the names in the query of a request; a dependency of every route.

    Raises:
        APIError: A name is unknown, or occurs twice.
    """
    given = [name for name, _ in request.query_params.multi_items()]
    if given:
        known = [field.alias for field in request.scope["route"].dependant.query_params]
        check_names(given, known, "the query")
