"""jobs/check_service.py counts the photos of a test set as evaluate does."""

import asyncio
import io
import tarfile
from types import SimpleNamespace

import pytest

from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.serving import service_check
from landmark_ray.serving.service_check import CheckOptions

NO_PHOTO = {"images": 0, "landmark_images": 0, "threshold": 0.5}
EVALUATED = {"images": 1, "landmark_images": 1, "top1": 1.0, "gap": 1.0}


class Client:
    """Stands for `serving.client.Client`: every second photo is landmark 7, the others nothing."""

    def __init__(self, *_) -> None:
        self.asked = 0

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_) -> None:
        pass

    async def version(self) -> str:
        return "1"

    async def predict(self, photos, files):
        del files
        self.asked += 1
        return [[(7, 0.9)] if (i + self.asked) % 2 else [] for i in range(len(photos))]


def as_files(folder) -> None:
    (folder / "test/0/0").mkdir(parents=True)
    (folder / "test/0/0/p.jpg").write_bytes(b"\xff\xd8\xff photo")


def as_tar(folder) -> None:
    (folder / "test").mkdir()
    with tarfile.open(folder / "test/images_000.tar", "w") as tar:
        for name in ("a/p.jpg", "b/p.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 8
            tar.addfile(member, io.BytesIO(b"\xff\xd8\xffphoto"))


@pytest.mark.parametrize("make", [as_files, as_tar])
def test_photos_are_found_by_their_ids_and_count_once(make, tmp_path, monkeypatch):
    (tmp_path / "train.csv").write_text("id,url,landmark_id\nx,,7\n")
    (tmp_path / "recognition_solution.csv").write_text("id,landmarks,Usage\np,7,Public\n")
    (tmp_path / "train").mkdir()
    make(tmp_path)
    monkeypatch.setattr(service_check, "Client", Client)
    archives, solution = Source(str(tmp_path)).test_set()
    manifest = SimpleNamespace(max_megabytes=20.0, version="1")
    options = CheckOptions(bundle="b", source=str(tmp_path))
    found = asyncio.run(service_check.measure("", archives, solution, manifest, options))
    assert [(f["images"], f["landmark_images"]) for f in found.values()] == [(1, 1)] * 2


def test_test_set_without_a_photo_is_named(capsys):
    service_check.print_figures(EVALUATED, {"one per request": NO_PHOTO})
    assert "–" in capsys.readouterr().out
    with pytest.raises(UserError, match="set isn't the test set that evaluate saw: 0 images"):
        service_check.check_figures(
            EVALUATED, {"one": NO_PHOTO}, CheckOptions(bundle="b", source="set")
        )
