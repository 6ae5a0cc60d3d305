"""A dataset whose ids and names lead elsewhere: its photos are read, and nothing else happens."""

import io
import tarfile

import numpy as np
import pyarrow.dataset as pads
from PIL import Image

from tests.conftest import line_of

IDS = ["../../x", "/etc/x", "..", "a%2e%2e", "$(touch x)", "'; --", "x" * 3000, "e\u0301\u202e"]


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def test_ids_and_names_that_lead_elsewhere_are_only_text(tmp_path, run_job):
    source, root = tmp_path / "in/source", tmp_path / "in/root"
    (source / "train").mkdir(parents=True)
    lines = [f'"{image_id}",u,7' for image_id in IDS] + ['"..",u,8', '"",u,7']
    (source / "train.csv").write_text("\n".join(["id,url,landmark_id", *lines]) + "\n")
    (source / "train_label_to_category.csv").write_text('landmark_id,category\n7,"../../<b>"\n')
    with tarfile.open(source / "train/images ..;$(x)\n000.tar", "w") as tar:
        for number, name in enumerate(["../../x", "../../../../etc/a%2e%2e", *IDS[4:]]):
            info = tarfile.TarInfo(f"{name}.jpg")
            info.size = len(jpeg(number))
            tar.addfile(info, io.BytesIO(jpeg(number)))
    others = sorted(p for p in tmp_path.rglob("*"))
    args = ("--source", source, "--root", root, "--sample.buckets", 2)
    done = run_job("pipeline", *args, "--to", "ingest", "--ingest.max_rejected", 1)
    assert done.returncode == 0, done.stderr
    images = pads.dataset(root / "images", partitioning="hive").to_table()
    assert set(images["image_id"].to_pylist()) == {"a%2e%2e", *IDS[4:]}
    rejects = pads.dataset(root / "rejects", partitioning="hive").to_table()
    assert {"../../x", "/etc/x"} <= set(rejects["image_id"].to_pylist())
    assert sorted(p for p in tmp_path.rglob("*") if root not in p.parents and p != root) == others

    (root / "_ledger/ingest.json").write_text("garbage")
    line = line_of(run_job("pipeline", *args, "--to", "ingest"))
    assert "_ledger/ingest.json is damaged" in line and "Traceback" not in line
