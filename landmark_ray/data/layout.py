"""The names of all files that the product writes under a root.

Before files are deleted or replaced, a stage's record in the ledger must say that the stage wrote
files there, and their names must have the form that is defined here.
"""

import re

from landmark_ray.data.schemas import TABLES

_SHARD = r"bucket=\d+/shard-\d{5,}\.parquet|bucket=0/empty\.parquet"
_REJECTING = "ingest|extract|describe|detect|resize"
_HEADS = r"group=\d+/head\.(weights\.h5|json)"
_INDEX = r"(mean|projection|vectors|lists|centres)\.npy|photos\.parquet|index\.json"
_EXEMPLARS = r"bucket-\d{5,}\.arrow|features\.onnx|exemplars\.json"
_NETWORK = r"network\.(weights\.h5|json)"

_FORMS = {
    **dict.fromkeys((*TABLES, "resized"), _SHARD),  # older versions wrote `resized`
    "catalog": r"bucket=\d+/(catalog|empty)\.parquet",
    "landmarks": r"landmarks\.parquet|bucket=0/empty\.parquet",
    "rejects": rf"stage=({_REJECTING})/({_SHARD})",
    "models/pretrained": _NETWORK,
    "models/trunk": rf"{_NETWORK}|history\.json",
    "models/index": _INDEX,
    "models/exemplars": _EXEMPLARS,
    "models/groups": _HEADS,
    "models/closed": _HEADS,
    "models/finetuned": rf"{_HEADS}|group=\d+/{_NETWORK}",
    "bundle": r"\.export\.json|bundle\.json|landmarks\.parquet|evaluation\.json|"
    rf"reference\.parquet|provenance\.json|README\.md|trunk/{_NETWORK}|groups/({_HEADS}|group=\d+/{_NETWORK})|"
    rf"index/({_INDEX}|fusion\.json)|exemplars/({_EXEMPLARS})",
    "_staging/ingest": r"fragments/bucket=\d+/[^/]+-\d{3,}\.parquet",
    "_staging/match": r"-?\d+/\d+(-\d+)?\.parquet",
    "_staging/train": r"(trunk|group-\d+|worker-\d+)/.+",  # Ray Train writes there
    "_staging/tune": r"trials/.+",  # Ray Tune writes there
    "_staging/attempts": r"[a-z]+/[^/]+\.json",
    "logs/tensorboard": r"[a-z]+/[^/]+/events\.out\.tfevents\.\d{10,}\.landmark_ray",
    "logs/mlflow": r"[a-z]+/(meta\.yaml|[a-z]+-[^/]+/(meta\.yaml|"
    r"(params|metrics|tags)/.+|artifacts/history\.json))",
    "_ledger/archives": r"[^/]+\.json",
    "_ledger": r"[a-z]+\.json",
}
"""Folder -> regular expression of the names of its files."""

_FILES = re.compile("|".join(f"{folder}/({form})" for folder, form in _FORMS.items()), re.DOTALL)

REPORTS = re.compile(
    r"reports/(funnel\.(json|png)|curation\.html|evaluation\.(json|html)|sweep\.(json|csv|png)|"
    r"tune\.(toml|csv)|matches/[^/]+\.png)"
)
"""Names of reports. A receipt (`runtime.receipts`) says whether the product wrote them."""


def log_folder(program: str, stage: str) -> str:
    """Return the folder of the files that a stage writes for a program, `--train.log`."""
    return f"logs/{program}/{stage}"


def ours(name: str) -> bool:
    """Return whether a name, relative to a root, is that of a file that stages write."""
    return _FILES.fullmatch(name) is not None
