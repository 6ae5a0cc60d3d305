"""Prometheus metrics of the ingress; Ray exports them with the prefix `ray_`."""

from ray.util.metrics import Counter, Histogram

SECONDS = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30]


class Metrics:
    """Requests, latencies by phase, predictions by group, rejected inputs by reason."""

    def __init__(self) -> None:
        """Register them."""
        self._requests = Counter("landmark_requests", "Requests.", tag_keys=("route", "status"))
        self._phases = Histogram(
            "landmark_seconds", "Of a photo or request.", boundaries=SECONDS, tag_keys=("phase",)
        )
        self._predictions = Counter(
            "landmark_predictions", "Photos by the group of their landmark; 0: none.", ("group",)
        )
        self._rejected = Counter("landmark_rejected", "Inputs without an answer.", ("reason",))

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request is answered."""
        self._requests.inc(tags={"route": route, "status": str(status)})
        self.phase("request", seconds)

    def phase(self, phase: str, seconds: float) -> None:
        """A phase is over: decode, models, or the whole request."""
        self._phases.observe(seconds, tags={"phase": phase})

    def predicted(self, group: int) -> None:
        """A photo has an answer."""
        self._predictions.inc(tags={"group": str(group)})

    def rejected(self, reason: str) -> None:
        """A photo or request has none."""
        self._rejected.inc(tags={"reason": reason})
