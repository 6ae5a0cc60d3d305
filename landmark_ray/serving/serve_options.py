"""Options of the service, for jobs/serve.py and for `args` in serve.yaml."""

import ipaddress
import os
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from landmark_ray.config.base import VERIFY, Count, Options, StageConfig, Verify, Witness
from landmark_ray.errors import UserError
from landmark_ray.kernels.image import Limits

KEY_VARIABLE = "LANDMARK_RAY_KEY"
"""The environment variable with the key that clients must send."""

MIN_KEY_LENGTH = 16
"""Characters of a key, at least."""

Runtime = Literal["tensorflow", "openvino"]
Precision = Literal["f32", "bf16"]

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\s\\]+)/?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class GraphOptions(StageConfig):
    """The deployments of the service, and the limits of its requests."""

    runtime: Literal["auto", "tensorflow", "openvino"] = Field(
        "auto", description="auto: openvino on CPUs, tensorflow where --gpus is more than 0"
    )
    precision: Precision = Field(
        "f32",
        description="of openvino: f32 gives the answers of jobs/predict.py; bf16 is up to twice as "
        "fast on processors that support it, and changes confidences by about 0.01",
    )
    packs: int = Field(
        1,
        ge=0,
        description="number of deployments over which the group models are spread: with 1, one "
        "process holds all models; more use several GPUs or nodes; with 0, the ingress's process "
        "holds them, which is fastest on a small machine",
    )
    witnesses: Witness = Field(
        "fused",
        description="what answers: fused (heads and index), or heads alone",
    )
    verify: Verify = Field("doubtful", description=VERIFY)
    index_shards: int = Field(
        0,
        ge=0,
        description="number of deployments over which the index is spread, for an index that one "
        "machine cannot hold; with 0, the ingress's process holds it, which is fastest",
    )
    replicas: Count = Field(1, description="processes of each deployment but the ingress")
    gpus: float = Field(
        0.0, ge=0, description="GPUs of each process that holds models; with 0, CPUs compute"
    )
    threads: Count | None = Field(
        None, description="cores that each such process uses; all of its machine by default"
    )
    batch: Count | None = Field(
        None, description="photos in a batch, at most; by default 8, or 32 with GPUs"
    )
    ingresses: Count = Field(1, description="processes that take HTTP requests")
    decoders: Count = Field(2, description="processes that decode photos, for each ingress")
    queue: Count = Field(
        64,
        description="photos that an ingress holds at once; further requests are answered with 429",
    )
    max_files: Count = Field(16, description="photos in a request, at most")
    max_megabytes: float = Field(20.0, gt=0, description="size of a request's body in MB, at most")
    max_megapixels: float = Field(
        50.0,
        gt=0,
        description="pixels of a photo in millions, at most; for a JPEG, those at the reduced "
        "size at which it is decoded",
    )
    decode_seconds: float = Field(
        5.0, gt=0, description="time to decode a photo in seconds, at most"
    )
    upload_seconds: float = Field(
        20.0, gt=0, description="time for a request's body to arrive in seconds, at most"
    )
    key_file: str = Field(
        "",
        description="file with the key that clients must send as a bearer token; the environment "
        f"variable {KEY_VARIABLE} can hold the key instead",
    )

    cors_origins: str = Field(
        "",
        description="origins whose pages may use the service, as in "
        "https://a.example,https://b.example; * allows all",
    )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        return ",".join(parse_origins(text))

    @property
    def used_runtime(self) -> Runtime:
        """The runtime, with auto replaced by what it means here."""
        if self.runtime != "auto":
            return self.runtime
        return "tensorflow" if self.gpus else "openvino"

    def limits(self, bundle: Limits) -> Limits:
        """Return a bundle's limits of photos, with this service's limit of pixels."""
        return replace(bundle, max_pixels=self.max_megapixels * 1e6, max_option="--max_megapixels")

    @property
    def used_batch(self) -> int:
        """Photos in a batch, at most, with the default filled in."""
        return self.batch or (32 if self.gpus else 8)

    def key(self) -> str:
        """Return the key that clients must send; it is empty where they need none.

        Raises:
            UserError: The file can't be read, or the key is too short.
        """
        source = f"--key_file {self.key_file}" if self.key_file else KEY_VARIABLE
        try:
            variable = os.environ.get(KEY_VARIABLE, "")
            text = Path(self.key_file).read_text() if self.key_file else variable
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{source} can't be read: {error}") from None
        key = text.strip()
        valid = len(key) >= MIN_KEY_LENGTH and re.fullmatch(r"[!-~]+", key)  # as headers hold it
        if (key or self.key_file) and not valid:
            raise UserError(
                f"{source}: a key needs at least {MIN_KEY_LENGTH} ASCII characters, on one line "
                "and without spaces; make one with python -c "
                "'import secrets; print(secrets.token_urlsafe(32))'"
            )
        return key


class ServiceOptions(GraphOptions):
    """The deployments of the service, and the bundle that they serve."""

    bundle: str = Field(description="folder or URI of a bundle, written by jobs/export.py")

    @model_validator(mode="after")
    def _none_does_nothing(self) -> Self:
        refused = {
            "precision bf16 needs runtime openvino": self.precision != "f32"
            and self.used_runtime != "openvino",
            "runtime openvino computes on CPUs: leave gpus out": self.gpus > 0
            and self.used_runtime == "openvino",
            "index_shards needs packs 1 or more: with packs 0, one process holds all": bool(
                self.index_shards and not self.packs
            ),
            "verify always needs witnesses fused": self.verify == "always"
            and self.witnesses == "heads",
        }
        for why, holds in refused.items():
            if holds:
                raise ValueError(why)
        return self

    def graph(self, **changes: Any) -> dict[str, Any]:
        """Return the fields of `GraphOptions`, some of them changed.

        Serve starts new replicas when these change, and none when only the bundle does.
        """
        return {**self.model_dump(include=set(GraphOptions.model_fields)), **changes}


class ServeOptions(Options, ServiceOptions):
    """Options of jobs/serve.py."""

    model_config = Options.model_config  # both bases have one, of different types

    host: str = Field(
        "127.0.0.1",
        description="address to listen on; one that other machines can reach needs a key",
    )
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    metrics_port: int = Field(
        8080, ge=1, le=65535, description="port of the Prometheus metrics, on 127.0.0.1"
    )


def check_exposure(host: str, key: str) -> None:
    """Check that an address that other machines can reach is opened only with a key.

    Raises:
        UserError: The address needs a key, and there is none.
    """
    if not key and not is_loopback(host):
        raise UserError(
            f"--host {host} lets other machines in: set {KEY_VARIABLE} or --key_file, or leave out "
            "--host"
        )


def check_port(host: str, port: int, option: str) -> None:
    """Check that a port is free.

    Args:
        host: The address to listen on.
        port: The port to check.
        option: The option that set the port, for the message.

    Raises:
        UserError: Another process listens there, or this machine doesn't have the address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{option} {port}: can't listen at {host}:{port}: {reason}") from None


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_origins(text: str) -> list[str]:
    """Parse a comma-separated list of origins, into the form in which browsers send them.

    Raises:
        ValueError: An element isn't an origin.
    """
    return [_parse_origin(word.strip()) for word in text.split(",") if word.strip()]


def _parse_origin(word: str) -> str:
    if word == "*":
        return word
    match = _ORIGIN.fullmatch(word)
    if not match:
        raise ValueError(
            f"{word!r} is not an origin such as https://a.example or http://localhost:5173"
        )
    scheme, host = match[1].lower(), match[2].lower()
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}"
