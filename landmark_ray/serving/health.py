"""What the service knows and how it is: landmarks, version, health."""

from fastapi import APIRouter, Request

from landmark_ray.serving.api_errors import APIError
from landmark_ray.serving.api_models import Error, Landmark, Status, Version
from landmark_ray.serving.recogniser import Recogniser

router = APIRouter(tags=["state"])


@router.get(
    "/landmarks/{landmark_id}",
    response_model=Landmark,
    responses={404: {"model": Error}},
)
async def landmark(request: Request, landmark_id: int) -> Landmark:
    """A landmark that the models know."""
    service: Recogniser = request.app.state.service
    found = service.knowledge.landmark(landmark_id)
    if found is None:
        raise APIError(404, f"The models know no landmark {landmark_id}.", "landmark")
    return found


@router.get("/version", response_model=Version)
async def version(request: Request) -> Version:
    """Which bundle serves, how it was made and how good it is."""
    service: Recogniser = request.app.state.service
    manifest, options = service.knowledge.manifest, service.options
    return Version(
        **manifest.model_dump(include=set(Version.model_fields)),
        runtime=options.used_runtime,
        precision=options.precision,
    )


@router.get("/healthz", response_model=Status)
async def healthz() -> Status:
    """Whether requests are taken."""
    return Status(status="ok")


@router.get("/readyz", response_model=Status)
async def readyz(request: Request) -> Status:
    """Whether every group model is ready."""
    service: Recogniser = request.app.state.service
    await service.check_ready()
    return Status(status="ready")
