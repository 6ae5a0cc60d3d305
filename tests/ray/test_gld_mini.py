"""The pipeline on real photographs in GLDv2's format, against what each photograph really is."""

import hashlib
import io
import itertools
import json
import os
import shutil
import tarfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from landmark_ray.config import STAGES
from landmark_ray.kernels import metrics, sampling
from tests.conftest import REPO
from tests.tables import rows

pytestmark = [pytest.mark.shared, pytest.mark.ray]

MIN_INLIERS = 11
LAST = "prune"
LEFT_OUT = (1038, 1075, 1112, 1149, 1186)
"""Landmarks without odd or corrupt photos, which only `make test-all` looks at: 415 photos."""

WEIGHTS = "mobilenet_v2_imagenet_notop.weights.h5"


@pytest.fixture(scope="module", params=["some", pytest.param("all", marks=pytest.mark.long)])
def source(request, gld_mini, tmp_path_factory):
    """All photos, or those that are not of five of the large landmarks."""
    if request.param == "all":
        return gld_mini
    return without_large_landmarks(gld_mini, tmp_path_factory.mktemp("some") / "source")


ALL_PHOTOS = pytest.mark.parametrize("source", ["all"], indirect=True)


def without_large_landmarks(gld_mini, folder):
    """Write a source without test photos, and without the photos of `LEFT_OUT`."""
    truth, listed = (read_csv(gld_mini / name) for name in ("truth.csv", "train.csv"))
    left_out = set(truth.id[truth.landmark_id.isin(LEFT_OUT)])
    (folder / "train").mkdir(parents=True)
    (folder / "md5sum/train").mkdir(parents=True)
    for name, table in (("truth.csv", truth), ("train.csv", listed)):
        table[~table.id.isin(left_out)].to_csv(folder / name, index=False)
    for tar in sorted((gld_mini / "train").glob("*.tar")):
        written = folder / "train" / tar.name
        with tarfile.open(tar) as old, tarfile.open(written, "w") as new:
            for member in old:
                if member.isfile() and stem(member) not in left_out:
                    new.addfile(member, old.extractfile(member))
        line = f"{hashlib.md5(written.read_bytes()).hexdigest()}  {tar.name}\n"
        (folder / f"md5sum/train/md5.{tar.stem}.txt").write_text(line)
    return folder


def read_csv(path):
    return pd.read_csv(path, dtype={"id": str}, keep_default_na=False)


def stem(member):
    return member.name.rpartition("/")[2].removesuffix(".jpg")


@pytest.fixture(scope="module")
def truth(source):
    return read_csv(source / "truth.csv").set_index("id")


@pytest.fixture(scope="module")
def root(everything, run_job, tmp_path_factory):
    """The tables up to those of the kept images."""
    out = tmp_path_factory.mktemp("gld-mini") / "root"
    done = run_job("pipeline", *everything, "--root", out, "--to", LAST)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return out


@pytest.fixture(scope="module")
def whole(root, everything, run_job, tmp_path_factory):
    """`root`, gone on with to the bundle."""
    out = tmp_path_factory.mktemp("gld-mini-whole") / "root"
    shutil.copytree(root, out)
    done = run_job("pipeline", *everything, "--root", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def everything(source, gld_mini):
    """Options of the whole pipeline, with a network whose weights are there.

    One worker describes the photos, so that TensorFlow starts once.
    """
    weights = gld_mini.parents[1] / "models" / WEIGHTS
    options = ("--config", REPO / "jobs/conf/gldv2.toml", "--source", source)
    options += ("--train.cpus", os.cpu_count())
    return (*options, "--train.network", "mobilenet_v2", "--train.weights", weights)


def of_kind(truth, kind):
    return truth.index[truth.kind == kind]


def test_every_corrupt_image_is_rejected_with_a_reason_that_fits(root, truth):
    reasons = rows(root, "rejects").set_index("image_id").reason.str.partition(":")[0]
    assert set(reasons.index) == set(of_kind(truth, "corrupt"))
    found = {truth.detail[i]: reasons[i] for i in reasons.index}
    assert found == {
        "truncated": "truncated",
        "empty": "empty",
        "text": "not an image",
        "header_only": "not an image",
        "pixel_bomb": "too large",
        "one_pixel": "too small",
    }


def test_every_odd_image_is_decoded_upright_and_rgb(root, truth, source):
    images = rows(root, "images").set_index("image_id")
    seen = 0
    for tar in sorted((source / "train").glob("*.tar")):
        with tarfile.open(tar) as members:
            for member in members:
                image_id = stem(member)
                if member.isfile() and truth.kind[image_id] == "odd":
                    original = Image.open(members.extractfile(member))
                    wanted = ImageOps.exif_transpose(original).convert("RGB")
                    got = Image.open(io.BytesIO(images.jpeg[image_id]))
                    assert (got.format, got.mode, got.size) == ("JPEG", "RGB", wanted.size)
                    assert not got.getexif().get(0x0112)
                    small = [image.reduce(4) for image in (got, wanted)]  # a palette's grain aside
                    assert np.abs(np.subtract(*small, dtype=int)).mean() < 3
                    seen += 1
    assert seen == 6


def test_of_each_small_class_a_few_images_are_strangers(root, truth):
    small = of_kind(truth, "small_class")
    assert len(small) == 19
    catalog, kept = rows(root, "catalog"), rows(root, "kept").set_index("image_id")
    strangers = catalog[catalog.image_id.isin(small)]
    assert strangers.groupby("landmark_id").size().between(1, sampling.EACH).all()
    assert set(kept.reason[strangers.image_id]) == {"small_class"}


def test_all_duplicates_are_found_and_verify_nothing(root, truth, source, gld_mini):
    found = rows(root, "duplicates").set_index("image_id")
    copies = of_kind(truth, "duplicate")
    origin = pd.read_csv(gld_mini / "train.csv", dtype={"id": str}).set_index("url").id
    originals = [origin[truth.detail[copy]] for copy in copies]
    assert len(copies) == (24 if source == gld_mini else 9)
    for copy, original in zip(copies, originals, strict=True):
        assert found.cluster[copy] == found.cluster[original]
    assert (found.landmarks.map(len) == 1).all()  # no photo has two landmarks here
    known = dict(zip(copies, originals, strict=True))
    false = [
        pair
        for cluster in found.groupby("cluster").groups.values()
        for pair in itertools.combinations(cluster, 2)
        if len({known.get(image, image) for image in pair}) == 2
        and not {truth.kind[image] for image in pair} & {"odd"}  # one photo in many formats
    ]
    print(f"false pairs of duplicates: {len(false)}")
    assert len(false) <= 0.01 * len(copies)
    kept, pairs = rows(root, "kept").set_index("image_id"), rows(root, "pairs")
    cluster = found.cluster.to_dict()
    assert not (
        pairs.image_a.map(lambda i: cluster.get(i, i))
        == pairs.image_b.map(lambda i: cluster.get(i, i))
    ).any()
    partners = kept.partner[kept.partner != ""]
    assert all(
        cluster.get(image, image) != cluster.get(partner, partner)
        for image, partner in partners.items()
    )


def test_photos_are_kept_and_noise_is_not(root, truth):
    kept = rows(root, "kept").set_index("image_id")
    for stays, least in ((kept.inliers >= MIN_INLIERS, 0.93), (kept.keep, 0.97)):
        photos = stays.reindex(of_kind(truth, "photo"), fill_value=False).mean()
        noise = stays.reindex(of_kind(truth, "noise"), fill_value=False).mean()
        print(f"photos kept {photos:.3f}, noise kept {noise:.3f}")
        assert photos >= least
        assert noise <= 0.01


def test_kept_says_why_an_image_stays_or_goes(root):
    kept = rows(root, "kept")
    assert (kept.reason.isin(["verified", "similar"]) == kept.keep).all()
    assert ((kept.partner == "") == (kept.inliers == 0)).all()


@pytest.mark.long
@ALL_PHOTOS
def test_early_and_exhaustive_matching_keep_the_same_images(root, everything, run_job, tmp_path):
    every = tmp_path / "exhaustive"
    shutil.copytree(root, every)
    options = ("--match.mode", "exhaustive", "--redo", "match", "--from", "match", "--to", "prune")
    done = run_job("pipeline", *everything, "--root", every, *options)
    assert done.returncode == 0, done.stderr
    columns = ["image_id", "keep", "reason"]
    pd.testing.assert_frame_equal(rows(root, "kept")[columns], rows(every, "kept")[columns])
    pairs = {mode: len(rows(r, "pairs")) for mode, r in (("early", root), ("exhaustive", every))}
    print(pairs)
    same = rows(root, "duplicates").groupby("cluster").size()
    sizes = rows(root, "images").groupby("landmark_id").size()
    possible, copies = ((n * (n - 1) // 2).sum() for n in (sizes, same))
    assert pairs["exhaustive"] == possible - copies
    assert pairs["early"] < pairs["exhaustive"] / 2


@pytest.mark.long
@ALL_PHOTOS
def test_examples_are_grouped_and_split_with_duplicates_on_one_side(whole, truth, gld_mini):
    examples = rows(whole, "examples").set_index("image_id")
    kept = rows(whole, "kept")
    assert set(examples.index) == set(kept.image_id[kept.keep])
    first = [6, 11, 16, 21, 26, 31, 41, 51, 61, 76, 100]
    sizes = examples.groupby("landmark_id").size()
    wanted = examples.landmark_id.map(sizes).map(lambda n: sum(n >= low for low in first))
    assert (examples.group == wanted).all()
    assert set(examples.split) == {"train", "validation"}
    assert Image.open(io.BytesIO(examples.jpeg.iloc[0])).size == (224, 224)
    origin = pd.read_csv(gld_mini / "train.csv", dtype={"id": str}).set_index("url").id
    pairs = [(d, origin[truth.detail[d]]) for d in of_kind(truth, "duplicate")]
    pairs = [pair for pair in pairs if set(pair) <= set(examples.index)]
    assert len(pairs) >= 20
    assert all(examples.split[a] == examples.split[b] for a, b in pairs)


def test_finished_stages_are_skipped(root, everything, run_job):
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*.parquet")}
    done = run_job("pipeline", *everything, "--root", root, "--to", LAST)
    stages = STAGES[: STAGES.index(LAST) + 1]
    assert done.returncode == 0 and done.stderr.count("finished already") == len(stages)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*.parquet")} == before


def test_other_options_on_the_same_root_are_refused(root, source, run_job):
    options = ("--config", REPO / "jobs/conf/gldv2.toml", "--source", source, "--root", root)
    done = run_job("pipeline", *options, "--match.min_inliers", "15")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()[-1:]
    assert "match.min_inliers = 11, now 15" in line and "--redo match" in line
    done = run_job("match", *options, "--extract.max_side", "512")
    assert done.returncode == 2 and "extract.max_side = 640, now 512" in done.stderr


@pytest.mark.long
@ALL_PHOTOS
def test_test_set_is_recognised_and_the_reference_rule_is_beside_it(whole):
    figures = json.loads((whole / "reports/evaluation.json").read_text())
    ensemble, reference = figures["test"]["ensemble"], figures["test"]["closed"]
    print(f"test set: {ensemble}\nthe reference's rule: {reference}")
    assert ensemble["top1"] >= 0.97 and ensemble["gap"] >= 0.97  # 111 photos of landmarks
    assert reference["gap"] < ensemble["gap"]
    assert figures["validation"]["ensemble"]["top1"] >= 0.98
    assert (whole / "reports/evaluation.html").stat().st_size > 10_000


@pytest.mark.long
@ALL_PHOTOS
def test_submission_scores_as_the_evaluation_says(whole, gld_mini, run_job, tmp_path):
    out = tmp_path / "submission.csv"
    done = run_job("predict", "--bundle", whole / "bundle", "--source", gld_mini, "--output", out)
    assert done.returncode == 0, done.stderr
    submission = pd.read_csv(out, dtype=str, keep_default_na=False)
    table = pd.read_csv(gld_mini / "recognition_solution.csv", dtype=str, keep_default_na=False)
    solution = {
        i: metrics.parse_solution(text) for i, text in zip(table.id, table.landmarks, strict=True)
    }
    assert set(submission.id) == set(solution)
    named = [text.split() or ("-1", "0") for text in submission.landmarks]
    landmarks = [int(landmark) if landmark != "-1" else None for landmark, _ in named]
    scores = [float(score) for _, score in named]
    gap = metrics.global_average_precision(submission.id, landmarks, scores, solution)
    wanted = json.loads((whole / "reports/evaluation.json").read_text())["test"]["ensemble"]["gap"]
    assert gap == pytest.approx(wanted, abs=2e-3) and gap >= 0.97
