"""Images that kill their worker, found by what lost attempts left behind.

Ray repeats the task of a lost worker, however often. So a unit of work notes in the root that it
has begun. One that finds such a note goes carefully: it notes each image before it touches it. When
TRIES attempts in a row ended at the same image, that image is rejected, and the work goes on.
"""

from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.image import ImageError

TRIES = 3
LOST = 20
"""Attempts in a row that may end elsewhere: before the first image, or while rows are written."""


def folder_of(stage: str) -> str:
    """The folder of a stage's notes, of no use once it is finished."""
    return f"_staging/attempts/{stage}"


class CrashLog:
    """An attempt at a unit of work, and what is known of those before it."""

    def __init__(self, root: Root, stage: str, unit: str) -> None:
        """Note that an attempt begins.

        Raises:
            UserError: all attempts die, and at no image.
        """
        self._root, self._name = root, f"{folder_of(stage)}/{unit}.json"
        note = root.read_json(self._name)
        self._careful = note is not None
        self._note = note or {"at": None, "suspect": None, "deaths": 0, "killers": []}
        if self._careful:
            self._blame(stage, unit)
        self._write(None)

    def start_image(self, image_id: str) -> None:
        """The next image's turn.

        Raises:
            ImageError: it has killed its worker time and again.
        """
        if image_id in self._note["killers"]:
            raise ImageError(f"kills its worker: {TRIES} attempts ended at this image")
        if self._careful:
            self._write(image_id)

    def finish_images(self) -> None:
        """No image's turn any more."""
        if self._careful:
            self._write(None)

    def finish_attempt(self) -> None:
        """Nothing of this attempt can be lost any more: the next one isn't there for its death."""
        self._note |= {"suspect": None, "deaths": 0}
        self._write(None)

    def _blame(self, stage: str, unit: str) -> None:
        """Count the death of the attempt before this one."""
        note = self._note
        died_at = note["at"]
        note["deaths"] = note["deaths"] + 1 if died_at == note["suspect"] else 1
        note["suspect"] = died_at
        if died_at is not None and note["deaths"] >= TRIES:
            note |= {"killers": [*note["killers"], died_at], "suspect": None, "deaths": 0}
        elif note["deaths"] > LOST:
            self._root.delete(self._name)
            raise UserError(
                f"{stage}: the worker of {unit} died {LOST} times, at no image: it may lack "
                f"memory (--{stage}.memory_gb keeps some for each task); the same command goes on"
            )

    def _write(self, at: str | None) -> None:
        self._note["at"] = at
        self._root.write_json(self._name, self._note, durable=False)
