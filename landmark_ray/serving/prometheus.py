"""Prometheus metrics of the ingress; Ray exports them with the prefix `ray_`."""

from ray.util.metrics import Counter, Histogram

SECONDS = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30]
"""Upper bounds of the histogram's buckets."""


class Metrics:
    """Counts requests, predictions and rejections, and measures the duration of each phase."""

    def __init__(self) -> None:
        """Register the metrics with Ray."""
        self._requests = Counter(
            "landmark_requests", "Number of HTTP requests.", tag_keys=("route", "status")
        )
        self._phases = Histogram(
            "landmark_seconds",
            "Duration of a phase of a photo, or of a whole request, in seconds.",
            boundaries=SECONDS,
            tag_keys=("phase",),
        )
        self._predictions = Counter(
            "landmark_predictions",
            "Number of photos by the group of their landmark, or enrolled; 0 means no landmark.",
            ("group",),
        )
        self._rejections = Counter(
            "landmark_rejected", "Number of photos or requests answered with an error.", ("reason",)
        )

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that is answered, with its route, HTTP status and duration."""
        self._requests.inc(tags={"route": route, "status": str(status)})
        self.observe_phase("request", seconds)

    def observe_phase(self, phase: str, seconds: float) -> None:
        """Record the duration of a phase: decode, models, or the whole request."""
        self._phases.observe(seconds, tags={"phase": phase})

    def count_prediction(self, group: str) -> None:
        """Count a photo that is answered, by the group of its landmark; "0" for no landmark."""
        self._predictions.inc(tags={"group": group})

    def count_rejection(self, reason: str) -> None:
        """Count a photo or request that is answered with an error."""
        self._rejections.inc(tags={"reason": reason})
