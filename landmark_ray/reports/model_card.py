"""The model card of a bundle: `README.md`, in the form that Hugging Face reads.

It is made from the bundle's other files and the fields of its manifest alone, so that a bundle to
which a landmark was added, or from which one was removed, gets a card that is true again. It has no
date, so the same bundle has the same card, byte for byte.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc
from jinja2 import TemplateError
from markupsafe import Markup

from landmark_ray.bundle.exemplar_files import THUMBNAIL, exemplar_info
from landmark_ray.bundle.manifest import CARD, EVALUATION, LANDMARKS, PROVENANCE
from landmark_ray.config import STAGES
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.landmark_names import readable
from landmark_ray.reports.galleries import REASONS
from landmark_ray.reports.templates import template

LISTED = 20
"""Largest number of landmarks, and of licences, that the card lists by name."""

ROWS = (
    ("photos", "images", True),
    ("of them with a landmark that the models know", "landmark_images", True),
    ("top-1 accuracy", "top1", False),
    ("top-5 accuracy", "top5", False),
    ("global average precision (GAP)", "gap", False),
    ("GAP of the photos with a landmark", "gap_landmarks", False),
    ("expected calibration error", "ece", False),
    ("precision at the threshold", "precision", False),
    ("recall at the threshold", "recall", False),
    ("F1 at the threshold", "f1", False),
)
"""Title, figure of an ensemble, and whether it is a count."""

STRANGERS = {"other_landmarks": "other landmarks", "anything_else": "anything else"}

OPTIONS = (
    *("network", "weights", "pooling", "phases", "metric_epochs", "metric_sizes"),
    *("metric_proportions", "metric_rate", "embedding", "metric_scale", "margin_few"),
    *("margin_many", "margin_power", "average"),
    *("views", "head", "scale", "head_epochs", "head_patience", "head_rate", "epochs", "rate"),
    *("optimizer", "weight_decay", "dropout", "smoothing", "balance", "other_share", "calibrate"),
)
"""Options of the training that the card shows, if they had an effect."""


def provenance(stages: Mapping[str, Any], licences: Counter[str] | None) -> dict[str, Any]:
    """Return what the card needs and no other file of a bundle holds.

    Args:
        stages: Stage -> its counts, as the ledger has them.
        licences: Licence -> number of photos, "" for those without; None if the source names none.
    """
    names = ("images_in", "images_out", "classes_in", "classes_out", "why")
    counts = {stage: {n: stages[stage][n] for n in names} for stage in STAGES if stage in stages}
    ordered = sorted(licences.items(), key=lambda item: (-item[1], item[0])) if licences else []
    return {"stages": counts, "licences": dict(ordered)}


def write_card(folder: Store, fields: Mapping[str, Any]) -> None:
    """Write the card of a bundle whose other files are written, except the manifest.

    A bundle of an older version does not say where its photos come from, and gets no card.

    Args:
        folder: The folder of the bundle.
        fields: The fields of its manifest.

    Raises:
        UserError: A file of the bundle is damaged.
    """
    known = folder.read_json(PROVENANCE)
    if known is None:
        return
    try:
        folder.write(CARD, render(folder, fields, known).encode())
    except (KeyError, TypeError, AttributeError, TemplateError) as error:
        raise UserError(
            f"{folder.shown}: {PROVENANCE} or {EVALUATION} is damaged ({error}): export it again"
        ) from None


def render(folder: Store, fields: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Return the text of the card; `known` is what `provenance` returned."""
    evaluation = folder.read_json(EVALUATION)
    names = folder.read_table(LANDMARKS)
    groups = {
        group: {"landmarks": rows.num_rows, "photos": pc.sum(rows["images"]).as_py()}
        for group in sorted(set(names["group"].to_pylist()) - {0})
        if (rows := names.filter(pc.equal(names["group"], group)))
    }
    enrolled = names.filter(pc.equal(names["group"], 0)).to_pylist()
    trained = sum(model["landmarks"] for model in evaluation["models"])
    return template(
        "model_card.md", text=escaped, reasons=reasons, figure=figure, versions=versions
    ).render(
        fields,
        stages=known["stages"],
        licences=most_common(known["licences"]),
        groups=groups,
        enrolled=[row | {"name": readable(row["name"])} for row in enrolled],
        forgotten=trained - (names.num_rows - len(enrolled)),
        listed=LISTED,
        options=options(fields["configuration"]),
        sets={name: evaluation[name] for name in ("validation", "test") if name in evaluation},
        rows=ROWS,
        strangers=STRANGERS,
        exemplars=exemplar_info(folder) is not None,
        thumbnail=THUMBNAIL,
    )


def options(configuration: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the options of the training that the card shows, and their values in words."""
    chosen: dict[str, Any] = {}
    for stage in ("trunk", "embed", "train", "finetune"):
        chosen |= configuration.get(stage, {})
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name in (f"train.{option}" for option in OPTIONS)
        if (value := chosen.get(name)) is not None
    }


def most_common(licences: Mapping[str, int]) -> dict[str, int]:
    """Return the licences of most photos; the others are added up as "other licences"."""
    named = dict(list(licences.items())[:LISTED])
    others = sum(licences.values()) - sum(named.values())
    return named | ({"other licences": others} if others else {})


def escaped(text: str) -> Markup:
    """Escape what Markdown or HTML would take for more than text; datasets name landmarks."""
    line = " ".join(str(text).split())
    return Markup(re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", line))


def reasons(why: Mapping[str, int]) -> str:
    """Return the reasons for which a stage left photos out, in words, the most frequent first."""
    ordered = sorted(((n, reason) for reason, n in why.items() if n), key=lambda x: (-x[0], x[1]))
    words = (REASONS.get(reason, reason.replace("_", " ")) for _, reason in ordered)
    return "; ".join(f"{word}: {n:,}" for (n, _), word in zip(ordered, words, strict=True))


def figure(values: Mapping[str, float], name: str, is_count: bool) -> str:
    """Return a figure of an ensemble, as text."""
    if name not in values:
        return "not measured"
    return f"{values[name]:,}" if is_count else f"{values[name]:.3f}"


def versions(software: Mapping[str, str]) -> str:
    """Return the versions of the software, as text."""
    return ", ".join(f"{name} {number}" for name, number in software.items())
