"""The JSON of the HTTP API; OpenAPI documents it from here."""

from pydantic import BaseModel, Field


class Candidate(BaseModel):
    """A landmark that a photo may show."""

    landmark_id: int
    name: str = Field(description="empty when unknown")
    category: str | None = Field(description="link to its category on Wikimedia Commons")
    confidence: float = Field(
        ge=0, le=1, description="calibrated: so many of such answers are right"
    )
    group: int = Field(description="group of the model that knows it, by images per landmark")


class PhotoAnswer(BaseModel):
    """What is on one photo."""

    file: str | None = Field(description="its name in the form; null for a raw body")
    is_landmark: bool = Field(description="whether the first confidence reaches the threshold")
    landmarks: list[Candidate] = Field([], description="the surest first, top_k of them")
    model_version: str | None = Field(None, description="that answered; null with an error")
    error: str | None = Field(description="why the photo can't be used; null when it can")


class Timings(BaseModel):
    """Where the time went, in milliseconds."""

    decode: float
    models: float
    total: float


class Prediction(BaseModel):
    """Answer of POST /predict."""

    photos: list[PhotoAnswer]
    model_version: str = Field(
        description="of the first answer; while another one is rolled out, others may differ"
    )
    warning: str = Field(description="of the model, see /version; empty where there is none")
    timings_ms: Timings


class Landmark(BaseModel):
    """Answer of GET /landmarks/{landmark_id}."""

    landmark_id: int
    name: str = Field(description="empty when unknown")
    category: str | None = Field(description="link to its category on Wikimedia Commons")
    group: int
    images: int = Field(description="photos that it was learned from, validation included")
    model_version: str


class Version(BaseModel):
    """Answer of GET /version."""

    version: str = Field(description="of the bundle: equal ones answer alike")
    created: str
    landmarks: int
    groups: list[int]
    threshold: float = Field(description="a lower confidence is not a landmark")
    rejects_strangers: bool | None = Field(
        description="whether there were photos enough of other things to tell landmarks from; "
        "null: not known"
    )
    warning: str = Field(description="why is_landmark can't be trusted; empty where it can")
    runtime: str
    precision: str
    metrics: dict[str, dict[str, float]] = Field(description="of validation and test photos")
    software: dict[str, str]


class Status(BaseModel):
    """Answer of the health routes."""

    status: str


class Error(BaseModel):
    """Every answer that isn't 2xx."""

    error: str = Field(description="one sentence: what is wrong, and what to do")
