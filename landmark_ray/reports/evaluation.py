"""How good the models are: a table, JSON and HTML."""

from typing import Any

from landmark_ray.storage import Tables

Figures = dict[str, Any]


def store(figures: Figures, tables: Tables) -> None:
    """Write `reports/evaluation.json`."""
    tables.write_json("reports/evaluation.json", figures)
