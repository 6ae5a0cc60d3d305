"""Raw datasets in the layout of Google Landmarks, or with a folder for each class.

GLDv2 (github.com/cvdfoundation/google-landmark): `train.csv` with `id,url,landmark_id` or
`train_clean.csv` with `landmark_id,images`, at the top or in `metadata/`; `train/images_NNN.tar`
with members `a/b/c/<id>.jpg`, and `md5sum/train/md5.images_NNN.txt`. Kaggle's layout is the same
with unpacked tars: `train/a/b/c/<id>.jpg`. Nothing is copied; tars are streamed once, from
beginning to end.
"""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.data.archives import TAR_ENDINGS, Archive, chunks_of, tar_stem
from landmark_ray.data.csv_file import CsvFile
from landmark_ray.data.file_kinds import HIDDEN, PHOTO_ENDINGS, is_hidden, printable, text_id
from landmark_ray.data.labels import (
    NO_LANDMARK,
    id_of_label,
    ids_of_folders,
    is_number,
    landmark_ids,
    read_labels,
)
from landmark_ray.data.listing import LeftOut, photo_files, photos_among, visible_files
from landmark_ray.data.retry import with_retries
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.metrics import parse_solution

LISTS = ("train.csv", "metadata/train.csv", "train_clean.csv", "metadata/train_clean.csv")
"""Csv files of photos and landmarks; the first one that exists is used."""

SOLUTIONS = (
    "recognition_solution.csv",
    "metadata/recognition_solution.csv",
    "ground_truth/recognition_solution_v2.1.csv",
)
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "index"}
"""Names of folders that hold the parts of a dataset and are no classes."""

LOOSE = "photos in no class folder"
DUPLICATE_TARS = "tars that are there in another form, too"
OTHER_LISTS = "lists of photos beside the one that is used"
OTHER_FILES = "other files and folders beside the dataset's"
NO_SOLUTION = "folders of test photos without a recognition_solution.csv"


class Source:
    """A dataset in one of the two layouts.

    Attributes:
        csv: Name of the list of photos; "" for class folders.
        left_out: The files that are not used, counted by kind.
        notes: Lines for people that say how `index` read the list.

    Raises:
        UserError: There is nothing at the URI, or no dataset.
    """

    def __init__(self, uri: str) -> None:
        """Find out which layout the dataset has, and list its files."""
        self.folder = Store(uri)
        self.left_out = LeftOut()
        self.notes: list[str] = []
        lists = [name for name in LISTS if self.folder.exists(name)]
        self.csv = next(iter(lists), "")
        self.files: dict[str, int] = {}
        self._splits: dict[str, tuple[dict[str, int], dict[str, int]]] = {}
        if not self.csv:
            self._find_class_folders()
            return
        self.solution = next((name for name in SOLUTIONS if self.folder.exists(name)), "")
        for name in lists[1:]:
            self.left_out.add(OTHER_LISTS, name)
        for split in ("train", "test") if self.solution else ("train",):
            self._splits[split] = self._find_split(split)
        if not self.folder.web:
            self._look_beside()

    def lines(self) -> list[str]:
        """Return lines for people that say which list is read, and what is left out."""
        read = [f"the photos and landmarks are those of {self.csv}"] if self.csv else []
        return read + self.notes + self.left_out.lines()

    def index(self) -> tuple[pa.Table, pa.Table, str]:
        """Read all images, the names of all landmarks, and a fingerprint of both.

        Returns:
            (image_id string, landmark_id int64), (landmark_id int64, name string), hex digest.

        Raises:
            UserError: A list is malformed, or two landmarks would have the same id.
        """
        return self._listed_index() if self.csv else self._folders_index()

    def _folders_index(self) -> tuple[pa.Table, pa.Table, str]:
        folders = sorted({text_id(name.partition("/")[0]) for name in self.files})
        numbers = ids_of_folders(folders, f"--source: {self.folder.shown}")
        images = [text_id(name) for name in self.files]
        ids = pa.array([numbers[name.partition("/")[0]] for name in images], pa.int64())
        digest = hashlib.sha256("\n".join(self.files).encode(errors="surrogateescape"))
        for name, number in numbers.items():
            if str(number) != name:
                digest.update(f"\n{name} {number}".encode())
        return (
            pa.table({"image_id": pa.array(images, pa.string()), "landmark_id": ids}),
            _names(numbers.values(), numbers),
            digest.hexdigest()[:16],
        )

    def _listed_index(self) -> tuple[pa.Table, pa.Table, str]:
        data = self.folder.read(self.csv)
        digest = hashlib.sha256(data)
        listed = read_labels(CsvFile(data, self._shown(self.csv)))
        del data
        names = _names(listed.names, listed.names.values())
        self.notes += [note for note in listed.notes if note not in self.notes]
        parent = self.csv.rpartition("/")[0]
        labels = f"{parent}/train_label_to_category.csv".lstrip("/")
        if self.folder.exists(labels):
            data = self.folder.read(labels)
            digest.update(data)
            file = CsvFile(data, self._shown(labels))
            rows = file.columns("landmark_id", "category")
            ids, _ = landmark_ids(rows["landmark_id"], file)
            known = pa.table({"landmark_id": ids, "name": rows["category"]}).drop_null()
            new = names.filter(pc.invert(pc.is_in(names["landmark_id"], known["landmark_id"])))
            names = pa.concat_tables([known, new])
        return listed.images, names, digest.hexdigest()[:16]

    def archives(self, split: str = "train") -> list[Archive]:
        """Return all archives of a split ("train" or "test"), in order.

        Raises:
            UserError: There is a csv, but there are no photos.
        """
        if not self.csv:
            return chunks_of(self.folder, self.files)
        tars, photos = self._splits[split]
        if not tars and not photos:
            raise UserError(
                f"{self.folder.uri} has a csv but no {split}/images_NNN.tar, and no photos in "
                f"{split}/ either"
            )
        return [
            Archive(name, self.folder, size, md5_file=f"md5sum/{split}/md5.{tar_stem(name)}.txt")
            for name, size in tars.items()
        ] + chunks_of(self.folder, photos)

    def test_set(self) -> tuple[list[Archive], dict[str, frozenset[int]]] | None:
        """Return the archives in `test/` and image id -> landmarks; None without a solution file.

        Raises:
            UserError: The solution file is malformed, or there are no photos.
        """
        if not self.csv or not self.solution:
            return None
        file = CsvFile(self.folder.read(self.solution), self._shown(self.solution))
        rows = file.columns("id", "landmarks")
        solution = {}
        for image_id, text in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            if not image_id:
                continue
            try:
                solution[image_id] = parse_solution(_whole(text or ""))
            except ValueError as error:
                raise UserError(f"{file.shown}: image {image_id}: {error}") from None
        return self.archives("test"), solution

    def fingerprint(self, split: str = "train") -> str:
        """Return a hex digest of the names and sizes of a split's archives."""
        lines = [f"{a.name} {a.size}" for a in self.archives(split)]
        digest = hashlib.sha256("\n".join(lines).encode(errors="surrogateescape"))
        for name in self._splits[split][1] if self.csv else ():
            digest.update(f"\n{name}".encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]

    def _shown(self, name: str) -> str:
        return f"{self.folder.shown}/{name}"

    def _find_class_folders(self) -> None:
        uri = self.folder.shown
        if not self.folder.web and not self.folder.exists():
            raise UserError(f"--source: there is nothing at {uri}")
        photos, self.left_out = ({}, LeftOut()) if self.folder.web else photo_files(self.folder)
        for name, size in photos.items():
            if "/" in name:
                self.files[name] = size
            else:
                self.left_out.add(LOOSE, name)
        if not self.files:
            also = "".join(f"; {line}" for line in self.left_out.lines())
            raise UserError(
                f"--source: {uri} is no dataset: it has neither a train.csv nor class folders with "
                f"images ({', '.join(PHOTO_ENDINGS)}){also}"
            )
        classes = {name.partition("/")[0] for name in self.files}
        inner = {name.split("/")[1] for name in self.files if name.count("/") > 1}
        if len(classes) == 1 and len(inner) > 1 and all(n.count("/") > 1 for n in self.files):
            only = printable(min(classes))
            self.notes.append(
                f"all photos are below {only}, and therefore of one landmark; if its "
                f"{len(inner):,} folders are the landmarks, give --source {uri}/{only}"
            )
        if {name.lower() for name in classes} <= SPLITS:
            first = min(classes)
            raise UserError(
                f"--source: {uri} has no train.csv, and its folders ({', '.join(sorted(classes))}) "
                f"are parts of a dataset and not classes: did you mean {uri}/{first}?"
            )

    def _find_split(self, split: str) -> tuple[dict[str, int], dict[str, int]]:
        """Return the tars and the photo files of a split, each as name -> bytes."""
        if self.folder.web:
            return self._web_tars(split), {}
        files = visible_files(self.folder, self.left_out, split)
        tars: dict[str, str] = {}
        for name in sorted((n for n in files if tar_stem(n)), key=_packed):
            key = f"{name.rpartition('/')[0]}/{tar_stem(name)}"
            if tars.setdefault(key, name) != name:
                self.left_out.add(DUPLICATE_TARS, name)
        rest = {name: size for name, size in files.items() if not tar_stem(name)}
        used = {name: files[name] for name in sorted(tars.values())}
        return used, photos_among(self.folder, rest, self.left_out)

    def _web_tars(self, split: str) -> dict[str, int]:
        """Ask a web server, which lists nothing, for images_000, images_001 ... until one fails."""
        sizes: dict[str, int] = {}
        with ThreadPoolExecutor(16) as pool:
            for start in range(0, 1000, 64):
                names = [f"{split}/images_{i:03d}.tar" for i in range(start, start + 64)]
                for name, size in zip(names, pool.map(self._web_size, names), strict=True):
                    if size is None:
                        return sizes
                    sizes[name] = size
        return sizes

    def _web_size(self, name: str) -> int | None:
        try:
            return self.folder.size(name)
        except FileNotFoundError:
            return None

    def _look_beside(self) -> None:
        """Count the files and folders at the top that are not part of GLDv2's layout."""
        known = {"train", "md5sum", "metadata", "ground_truth", "train_label_to_category.csv"}
        known.add("train_attribution.csv")
        known |= {*LISTS, *SOLUTIONS} | ({"test"} if self.solution else set())
        fs, top = self.folder.fs, self.folder.path
        for path in with_retries(self.folder.uri, fs.ls, top, detail=False):
            name = path.rstrip("/").rpartition("/")[2]
            if is_hidden(name):
                self.left_out.add(HIDDEN, name)
            elif name not in known:
                self.left_out.add(NO_SOLUTION if name == "test" else OTHER_FILES, name)


def _whole(text: str) -> str:
    """Convert a cell of a solution file to whole numbers: "7.0" to 7; "-1" and "NaN" go."""
    ids = (id_of_label(t) if is_number(t) else t for t in text.split())
    return " ".join(str(t) for t in ids if t is not None and str(t).lower() not in NO_LANDMARK)


def _packed(name: str) -> tuple[bool, str]:
    """Return a sort key that puts uncompressed tars first."""
    return not name.lower().endswith(TAR_ENDINGS[0]), name


def _names(ids: Iterable[int], names: Iterable[str]) -> pa.Table:
    return pa.table(
        {"landmark_id": pa.array(list(ids), pa.int64()), "name": pa.array(list(names), pa.string())}
    )


def drop_unlabelled(images: pa.Table) -> pa.Table:
    """Return the rows that have both an image id and a landmark id."""
    return images.filter(
        pc.and_(pc.is_valid(images["image_id"]), pc.is_valid(images["landmark_id"]))
    )
