"""The JSON objects of the HTTP API, as the OpenAPI document describes them."""

from typing import Literal

from pydantic import BaseModel, Field

from landmark_ray.config.base import Share


class Candidate(BaseModel):
    """A landmark that a photo may show."""

    landmark_id: int
    name: str = Field(description="empty when the name is unknown")
    category: str | None = Field(description="link to the category on Wikimedia Commons")
    confidence: float = Field(
        ge=0,
        le=1,
        description="calibrated: of all answers with this confidence, about this share is right",
    )
    group: int = Field(
        description="number of the group (by images per landmark) whose model knows the landmark; "
        "0 if it was enrolled"
    )


class MatchedPoint(BaseModel):
    """A point of a landmark on two photos: x and y, as shares of width and height."""

    photo: tuple[Share, Share] = Field(description="on the photo that was sent, upright")
    exemplar: tuple[Share, Share] = Field(description="on the photo of the landmark")


class NearPhoto(BaseModel):
    """A photo of a landmark that is near to the photo that was sent."""

    image_id: str
    landmark_id: int
    similarity: float | None = Field(
        ge=-1, le=1, description="cosine of the vectors of both photos; null when it isn't known"
    )
    inliers: int | None = Field(
        ge=0, description="number of points that match; null when the photos weren't matched"
    )
    points: list[MatchedPoint] = Field(description="points that match, at most 50")
    thumbnail: str | None = Field(description="a small JPEG as Base64; null when there is none")
    author: str | None = Field(description="who made it; null when that isn't known")
    licence: str | None = Field(description="its licence; null when that isn't known")


class Explanation(BaseModel):
    """The photos of the first landmark that are nearest to the photo that was sent."""

    kind: Literal["exemplars", "meaning", "none"] = Field(
        description="exemplars: photos with points that match; meaning: photos that are similar; "
        "none: the bundle has no photos of the landmark, or there is no landmark"
    )
    photos: list[NearPhoto] = Field(
        description="at most 3, the nearest first: by inliers, then by similarity"
    )


class PhotoAnswer(BaseModel):
    """The landmarks on one photo."""

    file: str | None = Field(description="file name in the form; null for a raw body")
    is_landmark: bool = Field(description="whether the first confidence reaches the threshold")
    landmarks: list[Candidate] = Field(
        [], description="at most top_k landmarks, the highest confidence first"
    )
    model_version: str | None = Field(
        None, description="version of the bundle that answered; null with an error"
    )
    error: str | None = Field(None, description="why the photo can't be used; null when it can")
    explanation: Explanation | None = Field(
        None,
        description="why the first landmark is named; absent without explain=true, and with an "
        "error",
        exclude_if=lambda explanation: explanation is None,
    )


class Timings(BaseModel):
    """The duration of each phase, in milliseconds."""

    decode: float
    models: float
    total: float


class Prediction(BaseModel):
    """The response of POST /predict."""

    photos: list[PhotoAnswer]
    model_version: str = Field(
        description="version that answered for the first photo; while a new version is rolled "
        "out, other photos may have another"
    )
    warning: str = Field(description="the model's warning, as in /version; empty without one")
    timings_ms: Timings


class Landmark(BaseModel):
    """The response of GET /landmarks/{landmark_id}."""

    landmark_id: int
    name: str = Field(description="empty when the name is unknown")
    category: str | None = Field(description="link to the category on Wikimedia Commons")
    group: int
    images: int = Field(description="number of its training and validation photos")
    model_version: str


class Version(BaseModel):
    """The response of GET /version."""

    version: str = Field(description="version of the bundle: equal versions give equal answers")
    created: str
    landmarks: int
    groups: list[int]
    threshold: float = Field(description="a photo with a lower confidence shows no landmark")
    rejects_strangers: bool | None = Field(
        description="whether training had enough photos of other things to tell landmarks from "
        "them; null when that is not known"
    )
    warning: str = Field(description="why is_landmark can't be trusted; empty where it can")
    runtime: str
    precision: str
    metrics: dict[str, dict[str, float]] = Field(
        description="figures measured on the validation photos and on the test photos"
    )
    software: dict[str, str]


class Status(BaseModel):
    """The response of the health routes."""

    status: str
    version: str | None = Field(
        None, description="of /readyz: the version that answers, unless clients need a key"
    )


class Error(BaseModel):
    """The response of every request that fails."""

    error: str = Field(description="one sentence that says what is wrong and what to do")
