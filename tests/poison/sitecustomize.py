"""In every Python whose PYTHONPATH has this folder: photos with a mark in them kill the process.

They stand for files that crash a decoder or eat all memory. Python imports this by itself.
"""

import io
import os
import signal
from pathlib import Path

import PIL.Image
from mark import MARK

# Python imports only the first file of this name: this one starts as quickly as all others.
exec((Path(__file__).parents[1] / "quick/sitecustomize.py").read_text())

_open = PIL.Image.open


def _open_or_die(file, *args, **kwargs):
    if isinstance(file, io.BytesIO) and MARK in file.getvalue()[:4096]:
        os.kill(os.getpid(), signal.SIGKILL)
    return _open(file, *args, **kwargs)


PIL.Image.open = _open_or_die
