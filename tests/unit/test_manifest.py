import json
import pickle

import pytest

from landmark_ray.bundle.manifest import FILE, Bundle, Manifest, version
from landmark_ray.errors import UserError
from landmark_ray.runtime.receipts import checksum


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "groups/group=3").mkdir(parents=True)
    (tmp_path / "groups/group=3/head.json").write_text("{}")
    (tmp_path / "landmarks.parquet").write_bytes(b"PAR1")
    names = ["groups/group=3/head.json", "landmarks.parquet"]
    files = {name: checksum((tmp_path / name).read_bytes()) for name in names}
    manifest = Manifest(
        version=version(files, 0.5),
        created="2026-11-24T00:00:00+00:00",
        size=224,
        min_side=32,
        max_megapixels=100,
        max_megabytes=64,
        threshold=0.5,
        rejection_floor=0.1,
        landmarks=2,
        groups=[3],
        metrics={"validation": {"top1": 0.9}},
        configuration={"sample": {"seed": 0}},
        fingerprints={"sample": "ab"},
        software={"python": "3.11"},
        files=files,
    )
    (tmp_path / FILE).write_text(manifest.model_dump_json())
    return tmp_path


def test_untouched_bundle_opens(bundle):
    manifest = Bundle(str(bundle)).manifest
    assert (manifest.size, manifest.groups, len(manifest.version)) == (224, [3], 12)
    assert manifest.limits.max_pixels == 100e6


def test_photos_become_squares_as_in_training(bundle):
    value = json.loads((bundle / FILE).read_text())
    for name, fit in (("pad", "pad"), ("crop", "crop"), (None, "crop")):  # None: an older bundle
        changed = {k: v for k, v in value.items() if k != "fit"} | ({"fit": name} if name else {})
        (bundle / FILE).write_text(json.dumps(changed))
        assert Bundle(str(bundle)).manifest.limits.fit == fit


def test_an_older_bundle_does_not_know_whether_it_rejects_strangers(bundle):
    value = json.loads((bundle / FILE).read_text())
    for name in ("rejects_strangers", "warning"):
        del value[name]
    (bundle / FILE).write_text(json.dumps(value))
    manifest = Bundle(str(bundle)).manifest
    assert manifest.rejects_strangers is None and manifest.warning == ""


def test_the_threshold_is_that_of_those_that_answer(bundle):
    older = Bundle(str(bundle)).manifest
    assert older.for_witnesses("heads") == older.for_witnesses("fused") == older
    manifest = older.model_copy(update={"heads_threshold": 0.3, "heads_floor": 0.0})
    heads = manifest.for_witnesses("heads")
    assert (heads.threshold, heads.rejection_floor) == (0.3, 0.0)
    assert manifest.for_witnesses("fused") == manifest
    assert heads.version == manifest.version
    files = older.files
    assert version(files, 0.5, None, None) == older.version, "that of older bundles stays"
    assert len({older.version, version(files, 0.5, 0.3), version(files, 0.5, 0.4)}) == 3


def test_a_worker_does_not_read_a_bundle_again_to_open_it(bundle):
    opened = Bundle(str(bundle))
    for file in bundle.rglob("*.*"):
        file.unlink()
    again = pickle.loads(pickle.dumps(opened))
    assert type(again) is Bundle
    assert (again.uri, again.manifest) == (opened.uri, opened.manifest)


def refused(bundle) -> str:
    with pytest.raises(UserError) as error:
        Bundle(str(bundle))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_changed_missing_or_strange_file_is_named(bundle):
    (bundle / "landmarks.parquet").write_bytes(b"PAR2")
    assert "landmarks.parquet is damaged" in refused(bundle)
    (bundle / "landmarks.parquet").unlink()
    assert "landmarks.parquet is missing" in refused(bundle)
    (bundle / "landmarks.parquet").write_bytes(b"PAR1")
    (bundle / "groups/group=4").mkdir()
    (bundle / "groups/group=4/head.json").write_text("{}")
    assert "groups/group=4/head.json doesn't belong there" in refused(bundle)


def test_no_bundle_and_other_formats_are_told_apart(bundle):
    value = json.loads((bundle / FILE).read_text())
    (bundle / FILE).write_text(json.dumps(value | {"format": 2}))
    assert "is a bundle of format 2, this code reads 1" in refused(bundle)
    (bundle / FILE).write_text(json.dumps(value | {"size": "big"}))
    assert "bundle.json: size: " in refused(bundle)
    (bundle / FILE).write_text("{")
    assert "cannot be read" in refused(bundle)
    (bundle / FILE).unlink()
    assert "is no bundle, it has no bundle.json" in refused(bundle)


def test_names_that_lead_outside_are_refused(bundle, tmp_path):
    value = json.loads((bundle / FILE).read_text())
    value["files"]["../secret"] = checksum(b"x")
    (bundle / FILE).write_text(json.dumps(value))
    assert "../secret is missing" in refused(bundle)


def test_version_depends_on_networks_and_threshold_alone():
    files = {"trunk/network.weights.h5": "a", "evaluation.json": "b"}
    assert version(files, 0.5) == version(files | {"evaluation.json": "c"}, 0.5)
    assert version(files, 0.5) != version(files, 0.6)
    assert version(files, 0.5) != version(files | {"trunk/network.weights.h5": "x"}, 0.5)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x", "groups/../../x", "a" * 5000])
def test_files_of_a_manifest_are_only_those_of_the_bundle(bundle, name):
    value = json.loads((bundle / FILE).read_text())
    value["files"][name] = checksum(b"x")
    (bundle / FILE).write_text(json.dumps(value))
    assert "is missing" in refused(bundle)


@pytest.mark.parametrize("forged", ["../../../tmp/x", "0" * 12, ""])
def test_a_version_that_is_not_made_of_the_files_is_refused(bundle, forged):
    value = json.loads((bundle / FILE).read_text())
    (bundle / FILE).write_text(json.dumps(value | {"version": forged}))
    assert "version: not that of these files" in refused(bundle)
