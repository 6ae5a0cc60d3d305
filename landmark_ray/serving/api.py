"""The HTTP API: routes, and every error as one sentence of JSON."""

from typing import Any
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from landmark_ray.serving import health, oip, page, predict_route
from landmark_ray.serving.api_errors import APIError
from landmark_ray.serving.api_models import Error
from landmark_ray.serving.cors import Cors
from landmark_ray.serving.middleware import RequestGuardMiddleware
from landmark_ray.serving.oip_models import SCHEMAS
from landmark_ray.serving.recogniser import Recogniser
from landmark_ray.serving.request_names import check_query
from landmark_ray.serving.serve_options import origins

SENTENCES = {
    404: "There is nothing at {path}: GET /openapi.json lists what there is.",
    405: "{path} can't be asked with {method}: GET /openapi.json lists what can.",
}


def build(service: Recogniser) -> FastAPI:
    """The app of an ingress."""
    bearer = HTTPBearer(auto_error=False)
    app = FastAPI(
        title="landmark_ray",
        summary="Names the landmark on a photo, with a confidence.",
        version="1",
        docs_url=None,
        redoc_url=None,
        responses={code: {"model": Error} for code in (400, 401, 422, 429, 431, 503)},
        dependencies=[Depends(check_query), *([Depends(bearer)] if service.key else [])],
    )
    app.state.service = service
    for router in (predict_route.router, health.router, oip.router):
        app.include_router(router)
    app.router.routes += page.routes
    app.add_exception_handler(APIError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _other)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _broken)
    app.openapi()["components"]["schemas"] |= SCHEMAS
    app.add_middleware(
        RequestGuardMiddleware, options=service.options, key=service.key, metrics=service.metrics
    )
    if allowed := origins(service.options.cors_origins):
        app.add_middleware(Cors, allowed=allowed)
    return app


def _refused(request: Request, error: Any) -> JSONResponse:
    request.app.state.service.metrics.rejected(error.reason)
    return JSONResponse(error.body, error.status, error.headers)


def _invalid(request: Request, error: Any) -> JSONResponse:
    """An option that is out of range: the first one, in words."""
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"][1:]) or "the request"
    request.app.state.service.metrics.rejected("option")
    return JSONResponse({"error": f"{name}: {problem['msg']}."}, 422)


def _other(request: Request, error: Any) -> JSONResponse:
    """What Starlette refuses: unknown paths and methods, forms that can't be read."""
    text = f"{error.detail}".rstrip(".") + "."
    if error.status_code in SENTENCES:
        path = quote(request.scope["path"][:200])
        text = SENTENCES[error.status_code].format(path=path, method=request.method)
    return JSONResponse({"error": text}, error.status_code, error.headers)


def _gone(request: Request, error: Any) -> JSONResponse:
    """For nobody; unhandled, each client that hangs up would be a traceback in the log."""
    return JSONResponse({"error": "The client hung up."}, 400)


def _broken(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": "A mistake of the service's own; its log has it."}, 500)
