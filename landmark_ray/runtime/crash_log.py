"""Find images that kill their worker, by the notes that lost attempts left behind.

Ray repeats the task of a lost worker without limit. Therefore, a unit of work writes a note into
the root when it begins. An attempt that finds the note of an earlier one is careful: it notes each
image before it works on it. When TRIES attempts in a row ended at the same image, this image is
rejected, and the work continues.
"""

from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.image import ImageError

TRIES = 3
"""Number of attempts in a row that end at an image before it is rejected."""

LOST = 20
"""Number of attempts in a row that may end at no image: before the first one, or while rows are
written."""


def folder_of(stage: str) -> str:
    """Return the folder of a stage's notes, which only a running stage needs."""
    return f"_staging/attempts/{stage}"


class CrashLog:
    """An attempt at a unit of work, and what is known about the attempts before it."""

    def __init__(self, root: Root, stage: str, unit: str) -> None:
        """Note that an attempt begins.

        Args:
            root: The root that the note is written to.
            stage: The stage that works.
            unit: The name of the unit of work, unique within the stage.

        Raises:
            UserError: More than LOST attempts in a row died while they worked on no image.
        """
        self._root, self._name = root, f"{folder_of(stage)}/{unit}.json"
        note = root.read_json(self._name)
        self._careful = note is not None
        self._note = note or {"at": None, "suspect": None, "deaths": 0, "killers": []}
        if self._careful:
            self._blame(stage, unit)
        self._write(None)

    def start_image(self, image_id: str) -> None:
        """Note that the work on an image begins.

        Raises:
            ImageError: TRIES attempts in a row ended at this image.
        """
        if image_id in self._note["killers"]:
            raise ImageError(f"kills its worker: {TRIES} attempts ended at this image")
        if self._careful:
            self._write(image_id)

    def finish_images(self) -> None:
        """Note that the work on the last image has ended."""
        if self._careful:
            self._write(None)

    def finish_attempt(self) -> None:
        """Note that the attempt succeeded, so that a later one does not count it as dead."""
        self._note |= {"suspect": None, "deaths": 0}
        self._write(None)

    def _blame(self, stage: str, unit: str) -> None:
        """Count the death of the attempt before this one, and reject the image that caused it."""
        note = self._note
        died_at = note["at"]
        note["deaths"] = note["deaths"] + 1 if died_at == note["suspect"] else 1
        note["suspect"] = died_at
        if died_at is not None and note["deaths"] >= TRIES:
            note |= {"killers": [*note["killers"], died_at], "suspect": None, "deaths": 0}
        elif note["deaths"] > LOST:
            self._root.delete(self._name)
            raise UserError(
                f"{stage}: the worker of {unit} died {LOST} times while it worked on no image. It "
                f"may lack memory: reserve some for each task with --{stage}.memory_gb. The same "
                "command continues from here"
            )

    def _write(self, at: str | None) -> None:
        self._note["at"] = at
        self._root.write_json(self._name, self._note, durable=False)
