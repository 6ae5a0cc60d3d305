"""Raw datasets: Google Landmarks' own layout, and a folder of class folders.

GLDv2 (github.com/cvdfoundation/google-landmark): `train.csv` with `id,url,landmark_id` at the top
or in `metadata/`, `train/images_NNN.tar` with members `a/b/c/<id>.jpg`, and
`md5sum/train/md5.images_NNN.txt`. It is read where it lies; tars are streamed once, from beginning
to end.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from landmark_ray.errors import UserError
from landmark_ray.kernels.metrics import parse_solution
from landmark_ray.storage import Folder
from landmark_ray.tars import DAMAGED, Hashed, Member, tar_members

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"),
    *(".heic", ".heif", ".avif"),
)
SOLUTIONS = (
    "recognition_solution.csv",
    "metadata/recognition_solution.csv",
    "ground_truth/recognition_solution_v2.1.csv",
)
FOLDER_CHUNK = 512
"""Files of class folders that are read as one archive."""


@dataclass
class Archive:
    """Images that are read in one go: a tar, or some files of class folders.

    After `members` has been gone through, `problem` says why none of them can be trusted, and
    `notes` what people should know.
    """

    name: str
    folder: Folder
    size: int
    files: tuple[str, ...] = ()
    md5_file: str = ""

    def __post_init__(self) -> None:
        """Nothing is known before reading."""
        self.problem = ""
        self.notes: list[str] = []

    def members(self, max_bytes: float) -> Iterator[Member]:
        """All images, in the order in which they lie."""
        if self.files:
            yield from (self._file(name, max_bytes) for name in self.files)
            return
        with self.folder.open(self.name) as raw:
            stream = Hashed(raw)
            try:
                yield from tar_members(stream, max_bytes)
            except DAMAGED as error:
                self.notes.append(f"{self.name} is damaged: {error}")
            stream.drain()
        self._check(stream.md5.hexdigest())

    def _file(self, name: str, max_bytes: float) -> Member:
        try:
            size = self.folder.size(name)
            return Member(name, size, self.folder.read(name) if size <= max_bytes else b"")
        except FileNotFoundError:  # a link to nowhere
            return Member(name, 0, b"")

    def _check(self, md5: str) -> None:
        if not self.md5_file:
            return
        try:
            wanted = self.folder.read(self.md5_file).split()[0][:40].decode(errors="replace")
        except (FileNotFoundError, IndexError):
            self.notes.append(f"{self.name} was not checked: {self.md5_file} is missing or empty")
            return
        if md5 != wanted.lower():
            self.problem = f"wrong md5: {self.name} has {md5}, not {wanted}"
            self.notes.append(f"{self.problem}; all its images are rejected: download it again")


class Source:
    """A dataset in one of the two layouts.

    Raises:
        UserError: there is nothing at the URI, or no dataset.
    """

    def __init__(self, uri: str) -> None:
        """Find out the layout."""
        self.folder = Folder(uri)
        names = ("train.csv", "metadata/train.csv")
        self.csv = next((name for name in names if self.folder.exists(name)), "")
        if self.csv:
            return
        if not self.folder.web and not self.folder.exists():
            raise UserError(f"--source: there is nothing at {uri}")
        self.files = {
            name: size
            for name, size in self.folder.files().items()
            if name.count("/") == 1 and name.lower().endswith(SUFFIXES)
        }
        strange = next((name for name in self.files if not _is_text(name)), None)
        if strange is not None:
            raise UserError(f"--source: {uri}: a name is not UTF-8, rename it: {strange!a}")
        if not self.files:
            raise UserError(
                f"--source: {uri} is no dataset: it has neither a train.csv nor class folders with "
                f"images ({', '.join(SUFFIXES)})"
            )

    def index(self) -> tuple[pa.Table, pa.Table, str]:
        """All images, all landmarks' names, and a fingerprint of both.

        Returns:
            (image_id string, landmark_id int64), (landmark_id int64, name string), hex digest.
        """
        if not self.csv:
            folders = sorted({name.partition("/")[0] for name in self.files})
            numeric = all(f.isdecimal() and len(f) < 19 for f in folders)
            numbers = {f: int(f) if numeric else i for i, f in enumerate(folders)}
            ids = [numbers[name.partition("/")[0]] for name in self.files]
            names = pa.table({"landmark_id": list(numbers.values()), "name": folders})
            images = pa.table(
                {"image_id": list(self.files), "landmark_id": pa.array(ids, pa.int64())}
            )
            return images, names, hashlib.sha256("\n".join(self.files).encode()).hexdigest()[:16]
        data = self.folder.read(self.csv)
        images = self._columns(data, self.csv, {"id": pa.string(), "landmark_id": pa.int64()})
        digest = hashlib.sha256(data)
        names = pa.table(
            {"landmark_id": pa.array([], pa.int64()), "name": pa.array([], pa.string())}
        )
        labels = self.csv.replace("train.csv", "train_label_to_category.csv")
        if self.folder.exists(labels):
            data = self.folder.read(labels)
            names = self._columns(
                data, labels, {"landmark_id": pa.int64(), "category": pa.string()}
            )
            digest.update(data)
        return (
            images.rename_columns(["image_id", "landmark_id"]),
            names.rename_columns(["landmark_id", "name"]),
            digest.hexdigest()[:16],
        )

    def _columns(self, data: bytes, name: str, kinds: dict[str, pa.DataType]) -> pa.Table:
        try:
            return pacsv.read_csv(
                pa.BufferReader(data),
                convert_options=pacsv.ConvertOptions(
                    column_types=kinds,
                    include_columns=list(kinds),
                    null_values=["", "None"],
                    quoted_strings_can_be_null=False,
                ),
            )
        except (pa.ArrowException, KeyError) as error:
            header = data[:200].partition(b"\n")[0].decode(errors="replace").strip()
            raise UserError(
                f"{self.folder.uri}/{name} must be a csv with the columns {', '.join(kinds)} "
                f"(it begins with {header!r}): {str(error).splitlines()[0]}"
            ) from None

    def archives(self) -> list[Archive]:
        """All that is to be read, in order.

        Raises:
            UserError: a train.csv without tars.
        """
        if not self.csv:
            names = list(self.files)
            chunks = [names[i : i + FOLDER_CHUNK] for i in range(0, len(names), FOLDER_CHUNK)]
            return [
                Archive(f"files-{i:06d}", self.folder, sum(self.files[n] for n in c), tuple(c))
                for i, c in enumerate(chunks)
            ]
        return self._tars("train")

    def test_set(self) -> tuple[list[Archive], dict[str, frozenset[int]]] | None:
        """The tars of `test/`, and the landmarks of each image; None where there is no solution.

        Raises:
            UserError: the solution can't be read, or there are no tars.
        """
        csv = next((name for name in SOLUTIONS if self.csv and self.folder.exists(name)), "")
        if not csv:
            return None
        kinds = {"id": pa.string(), "landmarks": pa.string()}
        rows = self._columns(self.folder.read(csv), csv, kinds)
        solution = {}
        for image_id, text in zip(*(rows[name].to_pylist() for name in kinds), strict=True):
            try:
                solution[image_id] = parse_solution(text or "")
            except ValueError as error:
                raise UserError(f"{self.folder.uri}/{csv}: image {image_id}: {error}") from None
        return self._tars("test"), solution

    def _tars(self, split: str) -> list[Archive]:
        tars = self._web_tars(split) if self.folder.web else self.folder.files(split)
        tars = {name: size for name, size in tars.items() if name.endswith(".tar")}
        if not tars:
            raise UserError(f"{self.folder.uri} has a csv but no {split}/images_NNN.tar")
        return [
            Archive(name, self.folder, size, md5_file=f"md5sum/{split}/md5.{_stem(name)}.txt")
            for name, size in sorted(tars.items())
        ]

    def _web_tars(self, split: str) -> dict[str, int]:
        """A web server lists nothing: ask for images_000, images_001 ... until one is missing."""
        found: dict[str, int] = {}
        with ThreadPoolExecutor(16) as pool:
            for start in range(0, 1000, 64):
                names = [f"{split}/images_{i:03d}.tar" for i in range(start, start + 64)]
                for name, size in zip(names, pool.map(self._web_size, names), strict=True):
                    if size is None:
                        return found
                    found[name] = size
        return found

    def _web_size(self, name: str) -> int | None:
        try:
            return self.folder.size(name)
        except FileNotFoundError:
            return None

    def fingerprint(self, split: str = "train") -> str:
        """What the archives of a split are, as a hex digest: names and sizes."""
        archives = self.archives() if split == "train" else self._tars(split)
        lines = [f"{a.name} {a.size}" for a in archives]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _is_text(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".tar")


def drop_unlabelled(images: pa.Table) -> pa.Table:
    """The rows that have both an id and a landmark."""
    return images.filter(
        pc.and_(pc.is_valid(images["image_id"]), pc.is_valid(images["landmark_id"]))
    )
