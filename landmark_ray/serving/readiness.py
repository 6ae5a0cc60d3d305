"""Waiting until a service is ready, for programs that start one."""

import urllib.request
from collections.abc import Callable


def wait_until_ready(url: str, gave_up: Callable[[], bool]) -> bool:
    """Wait until `GET {url}/readyz` has status 200.

    Args:
        url: Address of the service's root, without a slash at the end.
        gave_up: Called after each failed request: waits a moment, and tells whether the service
            will not become ready, because it has ended or the caller's time is over.

    Returns:
        Whether the service is ready.
    """
    while not is_ready(url):
        if gave_up():
            return False
    return True


def is_ready(url: str) -> bool:
    """Tell whether a service's `GET {url}/readyz` has status 200 now."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:  # URLError is one, too
        return False
