"""The JSON objects of the HTTP API, as the OpenAPI document describes them."""

from pydantic import BaseModel, Field


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


class Error(BaseModel):
    """The response of every request that fails."""

    error: str = Field(description="one sentence that says what is wrong and what to do")
