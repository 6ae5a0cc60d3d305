"""What the service answers when it can't: a status, and one clear sentence."""

from dataclasses import dataclass, field

from landmark_ray.kernels.image import ImageError

KINDS = {"not an image": 415, "too large": 413}
"""Kind of `ImageError` -> status; all others are 422."""


@dataclass(eq=False)
class APIError(Exception):
    """A request that gets no answer.

    Attributes:
        status: of HTTP.
        sentence: for a person.
        reason: a few words, the same for all such requests: a label of the metrics.
        headers: of the answer.
    """

    status: int
    sentence: str
    reason: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, str]:
        """Of the answer, as JSON."""
        return {"error": self.sentence}


def bad_photo(error: ImageError) -> APIError:
    """For a photo that can't be used."""
    text = str(error).rstrip(".")
    kind = text.partition(":")[0]
    return APIError(KINDS.get(kind, 422), f"The photo can't be used: {text}.", kind)


def too_large(megabytes: float) -> APIError:
    """For a body over the limit."""
    return APIError(
        413, f"The request is larger than {megabytes:g} MB (--max_megabytes).", "body too large"
    )


def busy(seconds: int) -> APIError:
    """For a full queue."""
    return APIError(
        429,
        f"The service is busy: try again in {seconds} s.",
        "busy",
        {"Retry-After": str(seconds)},
    )


def unready() -> APIError:
    """While models load, or are gone."""
    return APIError(
        503, "The models aren't ready: try again in 5 s.", "not ready", {"Retry-After": "5"}
    )
