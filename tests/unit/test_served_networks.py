"""What serves answers as what was trained: 11 groups, every runtime, or nothing is served."""

import json
import re
import shutil
import threading
from importlib.metadata import version
from unittest.mock import Mock

import numpy as np
import openvino
import pytest
from openvino.frontend.tensorflow import utils

from landmark_ray.bundle.ensemble import Ensemble
from landmark_ray.bundle.manifest import REFERENCE, Bundle
from landmark_ray.bundle.multihead import by_trunk
from landmark_ray.bundle.reference import Reference, difference
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.topk import merge_top_k
from landmark_ray.runtime.receipts import checksum
from landmark_ray.serving import openvino_conversion
from landmark_ray.serving.backends import load_openvino
from landmark_ray.serving.inference import MAX_TOP_K, ShardNetworks
from landmark_ray.serving.serve_options import GraphOptions
from tests import bombs, bundles

GROUPS = tuple(range(1, 12))
SOME = (2, 10)
"""Groups whose order as text isn't that of their numbers."""

PHOTOS = bundles.clouds(40, seed=7)
WAYS = {
    "f32": {"runtime": "openvino"},
    "bf16": {"runtime": "openvino", "precision": "bf16"},
    "tensorflow": {"runtime": "tensorflow"},
}


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """A cache of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def made(place, shared, groups=GROUPS) -> tuple[Bundle, Ensemble]:
    """A bundle, converted here, and its models as predict and evaluate have them."""
    bundles.write(place, groups=groups, shared=shared, reference=True)
    bundle = Bundle(str(place))
    copies = openvino_conversion.cache_folder(bundle)
    copies.mkdir(parents=True)
    openvino_conversion.main(bundle.uri, str(copies), *by_trunk(bundle))
    return bundle, Ensemble(bundle)


@pytest.fixture(scope="module")
def shared_trunk(caches, tmp_path_factory):
    return made(tmp_path_factory.mktemp("shared") / "bundle", shared=True)


@pytest.fixture(scope="module")
def own_trunks(caches, tmp_path_factory):
    return made(tmp_path_factory.mktemp("own") / "bundle", shared=False, groups=SOME)


@pytest.fixture(scope="module")
def eleven_own_trunks(caches, tmp_path_factory):
    return made(tmp_path_factory.mktemp("eleven") / "bundle", shared=False)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "trunks",
    ["shared_trunk", "own_trunks", pytest.param("eleven_own_trunks", marks=pytest.mark.long)],
)
def test_groups_answer_as_the_models_whatever_serves_them(trunks, way, request):
    bundle, ensemble = request.getfixturevalue(trunks)
    vectors = ensemble.vectors(PHOTOS)
    logits, wanted = ensemble.logits(vectors), ensemble.answer(vectors, MAX_TOP_K)
    groups = sorted(logits)
    assert groups == list(SOME if trunks == "own_trunks" else GROUPS)
    assert len({logits[group].tobytes() for group in groups}) == len(groups)  # else all would do
    apart = 0.05 if way == "bf16" else 1e-4
    # --packs 0, 1, 4, as the graph deals them: 0 differs from 1 only in the process
    for dealt in sorted({max(min(packs, len(by_trunk(bundle))), 1) for packs in (0, 1, 4)}):
        options = GraphOptions(**WAYS[way], packs=dealt)
        networks = [ShardNetworks(bundle, pack, options) for pack in range(dealt)]
        assert sorted(g for n in networks for g in n.groups) == groups
        for count, each in ((40, 8), (8, 1)):
            batches = [PHOTOS[i : i + each] for i in range(0, count, each)]
            for network in networks:
                parts = [network.logits(batch) for batch in batches]
                for group in network.groups:
                    found = np.concatenate([part[group] for part in parts])
                    assert np.abs(found - logits[group][:count]).max() < 8 * apart, group
            answers = [
                merge_top_k([n.answer(batch)[0] for n in networks], MAX_TOP_K) for batch in batches
            ]
            ids, sure = (np.concatenate(part) for part in zip(*answers, strict=True))
            assert np.abs(sure - wanted[1][:count]).max() < apart
            if way == "bf16":
                assert (ids[:, 0] == wanted[0][:count, 0]).mean() >= 0.98
            else:
                assert ids.tolist() == wanted[0][:count].tolist()


def renamed(bundle, swap) -> None:
    """Give outputs of a bundle's copy other names: the fault of old, with checksums that agree."""
    place = openvino_conversion.cache_folder(bundle)
    path = place / "trunk.xml"
    path.write_text(
        re.sub(r"\bgroup_(\d+)\b", lambda m: f"group_{swap(int(m[1]))}", path.read_text())
    )
    sums = json.loads((place / "trunk.json").read_text())
    sums["xml"] = checksum(path.read_bytes())
    (place / "trunk.json").write_text(json.dumps(sums))


@pytest.fixture
def copied(shared_trunk, tmp_path, monkeypatch):
    """The bundle with a shared trunk and its copy, to spoil."""
    bundle, _ = shared_trunk
    before = openvino_conversion.cache_folder(bundle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(before, openvino_conversion.cache_folder(bundle))
    shutil.copytree(bundle.uri, tmp_path / "bundle")
    return Bundle(str(tmp_path / "bundle"))


def refused(bundle, **options) -> str:
    with pytest.raises(UserError) as error:
        ShardNetworks(bundle, 0, GraphOptions(**options))
    assert "\n" not in str(error.value)
    return str(error.value)


def as_text(group: int) -> int:
    """What OpenVINO's order of outputs, by their names as text, took for what."""
    order = sorted(GROUPS, key=lambda g: "Identity" + (f"_{g - 1}" if g > 1 else ""))
    return order[group - 1]


@pytest.mark.parametrize("swap", [as_text, lambda g: {4: 5, 5: 4}.get(g, g)])
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_mixed_up_groups_are_not_served(copied, swap, precision):
    renamed(copied, swap)
    said = refused(copied, runtime="openvino", precision=precision)
    group = int(re.search(r"group (\d+): its logits differ by up to \d", said)[1])
    assert swap(group) != group
    assert f"(openvino, {precision})" in said and "--runtime tensorflow" in said


def test_mixed_up_groups_of_a_bundle_without_reference_are_not_served(copied, tmp_path):
    (tmp_path / "bundle" / REFERENCE).unlink()
    older = bundles.change(tmp_path / "bundle")
    assert older.manifest.version == copied.manifest.version
    assert ShardNetworks(older, 0, GraphOptions()).groups == list(GROUPS)
    renamed(older, as_text)
    assert "differ by up to" in refused(older)


def test_outputs_must_have_the_names_of_the_groups(copied):
    renamed(copied, lambda g: 77 if g == 7 else g)
    said = refused(copied)
    assert "group_77" in said and "group_7'" in said


def test_openvino_is_first_called_where_a_network_is_loaded(copied, monkeypatch):
    """Two threads in the first call of OpenVINO's binding wait for each other for ever."""
    infer, threads = openvino.InferRequest.infer, []

    def noted(*args, **options):
        threads.append(threading.current_thread())
        return infer(*args, **options)

    monkeypatch.setattr(openvino.InferRequest, "infer", noted)
    file = openvino_conversion.cache_folder(copied) / "trunk.xml"
    load_openvino(file, by_trunk(copied)["trunk"], "f32")
    assert threads == [threading.current_thread()]


def test_tensorflow_is_compared_too(copied, tmp_path):
    reference = Reference.read(copied, REFERENCE, bundles.SIZE)
    logits = reference.logits | {2: reference.logits[9], 9: reference.logits[2]}
    Reference(reference.photos, logits).write(copied, REFERENCE)
    bundle = bundles.change(tmp_path / "bundle", software={"keras": "3.0"})
    said = refused(bundle, runtime="tensorflow")
    assert re.search(r"group [29]: its logits differ", said) and "keras 3.0" in said


class Mixed:
    """A network whose export is a copy with groups mixed up."""

    def __init__(self, network, xml):
        self.network, self.xml, self.input_shape = network, xml, network.input_shape

    def __call__(self, photos, training):
        return self.network(photos, training=training)

    def export(self, path, **_):
        for ending in ("xml", "bin"):
            shutil.copy(self.xml.with_suffix(f".{ending}"), f"{path[:-3]}{ending}")


def test_a_conversion_that_answers_otherwise_leaves_no_copy(copied, tmp_path, monkeypatch):
    place = openvino_conversion.cache_folder(copied)
    renamed(copied, as_text)
    made = openvino_conversion.build_multihead
    monkeypatch.setattr(
        openvino_conversion,
        "build_multihead",
        lambda *args: Mixed(made(*args), place / "trunk.xml"),
    )
    (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match=r"network answers differently: group \d+: its logits"):
        openvino_conversion.main(copied.uri, str(tmp_path / "new"), "trunk")
    assert list((tmp_path / "new").iterdir()) == []


class Converter:
    """Stands for the process that converts: what it was asked for."""

    returncode, stderr = 1, "asked"

    def __init__(self, monkeypatch):
        self.trunks = []
        monkeypatch.setattr(openvino_conversion.subprocess, "run", self.run)

    def run(self, words, **_):
        self.trunks += words[5:]
        return self


@pytest.mark.parametrize("name", ["trunk.xml", "trunk.bin", "trunk.parquet", "trunk.json"])
@pytest.mark.parametrize("spoil", [lambda p: p.unlink(), lambda p: p.write_bytes(b"half")])
def test_half_a_copy_is_made_anew(copied, monkeypatch, name, spoil):
    converter = Converter(monkeypatch)
    assert (
        openvino_conversion.ensure_converted(copied, ["trunk"])["trunk"].exists()
        and not converter.trunks
    )
    spoil(openvino_conversion.cache_folder(copied) / name)
    with pytest.raises(UserError, match="can't be converted for OpenVINO: asked; --runtime"):
        openvino_conversion.ensure_converted(copied, ["trunk"])
    assert converter.trunks == ["trunk"]


def test_a_cache_that_cannot_be_made_is_a_line(copied, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="can't be made .*: set XDG_CACHE_HOME .*--runtime tensor"):
        openvino_conversion.ensure_converted(copied, ["trunk"])


def test_copies_of_older_code_are_not_used(copied, monkeypatch):
    place, converter = openvino_conversion.cache_folder(copied), Converter(monkeypatch)
    place.rename(
        place.with_name(place.name.removesuffix(f"-format-{openvino_conversion.CACHE_FORMAT}"))
    )
    with pytest.raises(UserError):
        openvino_conversion.ensure_converted(copied, ["trunk"])
    assert converter.trunks == ["trunk"]


def test_reference_is_read_as_it_was_written_and_damage_is_a_line(shared_trunk, tmp_path):
    bundle, _ = shared_trunk
    reference = Reference.read(bundle, REFERENCE, bundles.SIZE)
    assert reference.photos.shape == (12, bundles.SIZE, bundles.SIZE, 3)
    assert sorted(reference.logits) == list(GROUPS)
    with pytest.raises(UserError, match="reference.parquet is damaged"):
        Reference.read(bundle, REFERENCE, bundles.SIZE + 1)
    bombs.parquet(tmp_path / REFERENCE, tmp_path / "marker", "pixels")
    with pytest.raises(UserError, match="reference.parquet is damaged"):
        Reference.read(Store(str(tmp_path)), REFERENCE, bundles.SIZE)
    assert not (tmp_path / "marker").exists()


def test_f32_is_nearer_than_bf16(shared_trunk):
    bundle, ensemble = shared_trunk
    (outputs,) = by_trunk(bundle).values()
    file, far = openvino_conversion.cache_folder(bundle) / "trunk.xml", {}
    wanted = ensemble.logits(ensemble.vectors(PHOTOS[:32]))
    for precision in ("f32", "bf16"):
        found = load_openvino(file, outputs, precision)(PHOTOS[:32])
        far[precision] = max(difference(g, [found[g]], wanted[g]).share for g in GROUPS)
    assert far["f32"] < 1e-4 and far["f32"] <= far["bf16"] < 0.05


def test_openvino_finds_tensorflow_without_exec(monkeypatch):
    for module in ("builtins", "openvino.frontend.tensorflow.utils"):
        monkeypatch.setattr(f"{module}.exec", Mock(side_effect=NameError), raising=False)
    openvino_conversion.allow_new_python()
    assert utils.get_environment_setup("tf")["tensorflow"] == version("tensorflow")
