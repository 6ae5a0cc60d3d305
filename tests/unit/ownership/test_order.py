"""Roots whose stages ran in another order, by an older version."""

import json
from pathlib import Path

import pytest

from landmark_ray.errors import UserError
from tests import product
from tests.product import files


def as_before_groups(root: Path) -> None:
    """Make a root look as an older version left it: `group` wrote `examples` from `resized`."""
    for stage, inputs in {
        "resize": ("ingest", "clean"),
        "group": ("dedupe", "resize"),
        "trunk": ("group",),
    }.items():
        path = root / f"_ledger/{stage}.json"
        record = json.loads(path.read_text())
        record["inputs"] = {f"tables of {name}": "0123456789abcdef" for name in inputs}
        path.write_text(json.dumps(record))
    (root / "groups").rename(root / "resized")


@pytest.mark.parametrize("last", ["group", "resize", "trunk", "embed"])
def test_root_of_another_order_of_stages_is_refused_and_redo_makes_it_anew(source, root, last):
    product.run(source, root, last="trunk")
    as_before_groups(root)
    before = files(root)
    with pytest.raises(
        UserError, match="group reads the tables of dedupe, resize; in this version"
    ):
        product.run(source, root, last=last)
    assert files(root) == before
    product.run(source, root, last="trunk", redo="group")
    assert not (root / "resized").exists() and (root / "groups").exists()


def test_old_squares_are_not_taken_for_examples(source, root):
    product.run(source, root, last="trunk")
    as_before_groups(root)
    for stage in ("group", "trunk"):
        (root / f"_ledger/{stage}.json").unlink()  # it was stopped before `group`
    with pytest.raises(UserError, match="stage resize reads .*; in this .*Add --redo resize"):
        product.run(source, root, last="resize")
