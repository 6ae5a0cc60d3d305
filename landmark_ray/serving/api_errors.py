"""The errors of the HTTP API: each has a status and one clear sentence."""

from dataclasses import dataclass, field

from landmark_ray.kernels.image import ImageError

STATUS_OF_KIND = {"not an image": 415, "too large": 413}
"""Kind of `ImageError` -> HTTP status; all other kinds have status 422."""


@dataclass(eq=False)
class APIError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status, 400 or more.
        message: One sentence for people.
        reason: A few words that all such errors share: the label of a metric.
        headers: Headers of the response.
    """

    status: int
    message: str
    reason: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, str]:
        """The JSON object of the response."""
        return {"error": self.message}


def photo_error(error: ImageError) -> APIError:
    """Return the error for a photo that can't be used."""
    text = str(error).rstrip(".")
    kind = text.partition(":")[0]
    return APIError(STATUS_OF_KIND.get(kind, 422), f"The photo can't be used: {text}.", kind)


def body_too_large(megabytes: float) -> APIError:
    """Return the error for a request body of more than `megabytes` MB."""
    return APIError(
        413, f"The request is larger than {megabytes:g} MB (--max_megabytes).", "body too large"
    )


def queue_full(seconds: int) -> APIError:
    """Return the error for a full queue; the client may try again after some seconds."""
    return APIError(
        429,
        f"The service is busy: try again in {seconds} s.",
        "busy",
        {"Retry-After": str(seconds)},
    )


def models_not_ready() -> APIError:
    """Return the error for a time when the models are loading, or their processes are gone."""
    return APIError(
        503, "The models aren't ready: try again in 5 s.", "not ready", {"Retry-After": "5"}
    )
