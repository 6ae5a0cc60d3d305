"""Small datasets in the layouts that sources have."""

import hashlib
import io
import tarfile

from landmark_ray.data.sources import Source


def tar_of(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def gldv2(folder, tars: dict[str, bytes], md5s: dict[str, str] | None = None):
    """A dataset in GLDv2's layout; right md5s unless others are given."""
    (folder / "train").mkdir(parents=True)
    (folder / "md5sum/train").mkdir(parents=True)
    (folder / "train.csv").write_text(
        "id,url,landmark_id\n00000000000000aa,u,7\n0000000000000012,u,8\n"
    )
    for name, data in tars.items():
        (folder / f"train/{name}.tar").write_bytes(data)
        md5 = (md5s or {}).get(name, hashlib.md5(data).hexdigest())
        (folder / f"md5sum/train/md5.{name}.txt").write_text(f"{md5}  {name}.tar\n")
    return Source(str(folder))


JPEG = b"\xff\xd8\xff\xe0" + bytes(60)


IMAGE = {"0/0/0/00000000000000aa.jpg": b"jpeg"}


def put(folder, *names: str, data: bytes = JPEG):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def ids_by_name(source: Source) -> dict[str, int]:
    _, names, _ = source.index()
    return dict(zip(names["name"].to_pylist(), names["landmark_id"].to_pylist(), strict=True))
