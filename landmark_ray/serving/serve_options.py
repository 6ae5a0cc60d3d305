"""Options of the service: of jobs/serve.py, and `args` in serve.yaml."""

import ipaddress
import os
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from landmark_ray.config.base import Count, Options, StageConfig
from landmark_ray.errors import UserError
from landmark_ray.kernels.image import Limits

KEY = "LANDMARK_RAY_KEY"
"""The environment variable with the key."""

LEAST_KEY = 16
"""Letters of a key."""

Runtime = Literal["tensorflow", "openvino"]
Precision = Literal["f32", "bf16"]

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\s\\]+)/?", re.IGNORECASE)
_USUAL = {"http": ":80", "https": ":443"}


class GraphOptions(StageConfig):
    """What the graph is made of, and what it accepts."""

    runtime: Literal["auto", "tensorflow", "openvino"] = Field(
        "auto", description="auto: openvino on CPUs, tensorflow where --gpus asks for some"
    )
    precision: Precision = Field(
        "f32",
        description="openvino: f32 answers as jobs/predict.py does; bf16 is up to twice as fast "
        "on processors that have it, and moves confidences by a hundredth or so",
    )
    packs: int = Field(
        1,
        ge=0,
        description="deployments that the group models are dealt to: 1 holds them all in one "
        "process, more spread them over GPUs or nodes; 0: in the ingress's own process, with the "
        "shortest way on a small machine",
    )
    replicas: Count = Field(1, description="processes of each pack")
    gpus: float = Field(0.0, ge=0, description="GPUs of each of them")
    threads: Count | None = Field(
        None, description="cores that each computes on; all of its machine when not given"
    )
    batch: Count | None = Field(
        None, description="photos computed at once, at most; 8, with GPUs 32, when not given"
    )
    ingresses: Count = Field(1, description="processes that take requests and decode photos")
    decoders: Count = Field(2, description="processes in which each of them decodes photos")
    queue: Count = Field(
        64, description="photos in work or waiting in an ingress; with more it answers 429"
    )
    max_files: Count = Field(16, description="files of a request, at most")
    max_megabytes: float = Field(20.0, gt=0, description="of a request's body, at most")
    max_megapixels: float = Field(
        50.0,
        gt=0,
        description="of a photo, at most; a JPEG counts at the fraction that it is decoded at",
    )
    decode_seconds: float = Field(5.0, gt=0, description="to decode a photo, at most")
    upload_seconds: float = Field(20.0, gt=0, description="for a body to arrive, at most")
    key_file: str = Field(
        "",
        description=f"file with the key that clients must send as a bearer token; or the variable "
        f"{KEY}",
    )

    cors_origins: str = Field(
        "",
        description="pages that browsers let ask the service: https://a.example,https://b.example, "
        "or * for all",
    )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        return ",".join(origins(text))

    @property
    def used_runtime(self) -> Runtime:
        """What auto stands for."""
        if self.runtime != "auto":
            return self.runtime
        return "tensorflow" if self.gpus else "openvino"

    def limits(self, bundle: Limits) -> Limits:
        """What photos may be, where a bundle asks for this."""
        return replace(bundle, max_pixels=self.max_megapixels * 1e6, max_option="--max_megapixels")

    @property
    def used_batch(self) -> int:
        """Photos computed at once."""
        return self.batch or (32 if self.gpus else 8)

    def key(self) -> str:
        """The clients' key; empty where none is asked for.

        Raises:
            UserError: it can't be read, or it is short.
        """
        place = f"--key_file {self.key_file}" if self.key_file else KEY
        try:
            text = Path(self.key_file).read_text() if self.key_file else os.environ.get(KEY, "")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{place} can't be read: {error}") from None
        key = text.strip()
        if (key or self.key_file) and (len(key) < LEAST_KEY or not key.isascii() or " " in key):
            raise UserError(
                f"{place}: a key has {LEAST_KEY} ASCII letters or more, no space; make one with "
                "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        return key


class ServiceOptions(GraphOptions):
    """The graph with its models."""

    bundle: str = Field(description="folder or URI that jobs/export.py wrote")

    def graph(self, **changes: Any) -> dict[str, Any]:
        """All but the bundle: another one of these is another graph."""
        return {**self.model_dump(include=set(GraphOptions.model_fields)), **changes}


class ServeOptions(Options, ServiceOptions):
    """Options of jobs/serve.py."""

    host: str = Field("127.0.0.1", description="address to listen on; others need a key")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    metrics_port: int = Field(
        8080, ge=1, le=65535, description="port of the Prometheus metrics, on loopback"
    )


def check_door(host: str, key: str) -> None:
    """An address that others can reach is opened only with a key.

    Raises:
        UserError: there is none.
    """
    if not key and not is_loopback(host):
        raise UserError(
            f"--host {host} lets other machines in: set {KEY} or --key_file, or leave --host out"
        )


def check_port(host: str, port: int, option: str) -> None:
    """Nobody else listens there.

    Raises:
        UserError: somebody does, or the address is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        why = error.strerror or str(error)
        raise UserError(f"{option} {port}: can't listen at {host}:{port}: {why}") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def origins(text: str) -> list[str]:
    """Those of a list with commas, as browsers send them.

    Raises:
        ValueError: one is none.
    """
    return [_origin(word.strip()) for word in text.split(",") if word.strip()]


def _origin(word: str) -> str:
    if word == "*":
        return word
    found = _ORIGIN.fullmatch(word)
    if not found:
        raise ValueError(
            f"{word!r} is no origin such as https://a.example or http://localhost:5173"
        )
    scheme, host = found[1].lower(), found[2].lower()
    return f"{scheme}://{host.removesuffix(_USUAL.get(scheme, ''))}"
