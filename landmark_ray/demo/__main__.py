"""Draw a small dataset: python -m landmark_ray.demo --out FOLDER [--seed N] [--scale N]."""

import argparse
import os
import sys
from pathlib import Path

from landmark_ray.demo.contact_sheet import check, sheet
from landmark_ray.demo.dataset import draw


def resolve(text: str) -> Path:
    """Return a path without `..`, because `missing/../there` exists only once `missing` is made."""
    return Path(os.path.realpath(text) if ".." in Path(text).parts else text)


def main() -> None:
    """Draw a dataset, and a contact sheet of it where one is asked for."""
    parser = argparse.ArgumentParser(description="Draw a small dataset of landmarks.")
    parser.add_argument("--out", type=resolve, required=True, help="folder to draw into")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=int, default=1, help="so many times as many landmarks")
    parser.add_argument("--sheet", type=resolve, help="contact sheet to draw too, a PNG file")
    options = parser.parse_args()
    try:
        if options.sheet:
            check(options.sheet)
        draw(options.out, seed=options.seed, scale=options.scale)
        if options.sheet:
            sheet(options.out, options.sheet)
            print(f"{options.sheet} shows it")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
