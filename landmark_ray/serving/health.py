"""Routes that describe the service: a landmark, the version of the bundle, and its health."""

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
    """Return a landmark that the models know."""
    service: Recogniser = request.app.state.service
    known = service.metadata.landmark(landmark_id)
    if known is None:
        raise APIError(404, f"The models know no landmark {landmark_id}.", "landmark")
    return known


@router.get("/version", response_model=Version)
async def version(request: Request) -> Version:
    """Return which bundle is served, how it was made and how good it is."""
    service: Recogniser = request.app.state.service
    manifest, options = (await service.serving()).manifest, service.options
    return Version(
        **manifest.model_dump(include=set(Version.model_fields)),
        runtime=options.used_runtime,
        precision=options.precision,
    )


@router.get("/healthz", response_model=Status, response_model_exclude_none=True)
async def healthz() -> Status:
    """Tell whether the service accepts requests."""
    return Status(status="ok")


@router.get("/readyz", response_model=Status, response_model_exclude_none=True)
async def readyz(request: Request) -> Status:
    """Tell whether every group's model is loaded."""
    service: Recogniser = request.app.state.service
    bundle = await service.serving()
    return Status(status="ready", version=None if service.key else bundle.manifest.version)
