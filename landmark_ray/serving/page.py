"""The page for people at / and the API's documentation at /docs, from files of this machine."""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

PAGE = Path(__file__).parent / "page"
SWAGGER = Path(str(files("fastapi_swagger") / "resources"))

FILES = {
    "/": PAGE / "index.html",
    "/page.css": PAGE / "page.css",
    **{f"/{name}.js": PAGE / f"{name}.js" for name in ("page", "dom", "why")},
    "/docs": PAGE / "docs.html",
    "/docs.js": PAGE / "docs.js",
    "/docs/swagger-ui-bundle.js": SWAGGER / "swagger-ui-bundle.js",
    "/docs/swagger-ui.css": SWAGGER / "swagger-ui.css",
}
"""URL path -> file."""


def sender(file: Path) -> Callable[[Request], Awaitable[FileResponse]]:
    """Return a route that sends a file."""

    async def send_file(request: Request) -> FileResponse:
        """Send a whole file: a request for a range could fail with an error that isn't JSON."""
        request.scope["headers"] = [h for h in request.scope["headers"] if h[0] != b"range"]
        return FileResponse(file)

    return send_file


routes = [Route(path, sender(file)) for path, file in FILES.items()]
