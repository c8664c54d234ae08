"""Describes MinIO and other servers that speak the protocol of S3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from shared.figures import FigureKind
from shared.services.base import DATA_FOLDER, MAX_REQUESTS, PORT, ClientSettings, Phase, ServiceSettings, left_alone, mix_of, one_phase

OPERATIONS = ("put", "get")
MOST_OBJECT_BYTES = 2**30


def _mix(text: str) -> str:
    mix_of(text, OPERATIONS)
    return text


class MinioSettings(ServiceSettings):
    program: Literal["minio", "rclone"] = Field(
        default="minio",
        description="the program of the server: `minio`, or `rclone`, whose `rclone serve s3` speaks the same protocol and keeps objects "
        "as files; the results of one say nothing of the other",
    )
    port: int | None = PORT
    console_port: int | None = Field(
        default=None, ge=1, le=65_535, description="the port of the web page of MinIO; if it is left out, there is no such page"
    )
    root_user: str = Field(default="minioadmin", min_length=3, max_length=128, description="the access key")
    root_password: str = Field(
        default="minioadmin",
        min_length=8,
        max_length=128,
        description="the secret key of a server that listens on 127.0.0.1 only; never a key that opens something else",
    )
    data_dir: str = DATA_FOLDER


class MinioClient(ClientSettings):
    object_size_bytes: int = Field(default=1_048_576, ge=1, le=MOST_OBJECT_BYTES, description="the size of each object")
    num_objects: int = Field(
        default=100, ge=1, le=1_000_000, description="how many objects there are; all of them are written before the first measured request"
    )
    num_requests: int | None = Field(
        default=None,
        ge=1,
        le=MAX_REQUESTS,
        description="how many requests each repeat sends, of all clients together; by default as many as there are objects",
    )
    operation_mix: Annotated[str, AfterValidator(_mix), Field(max_length=100)] = Field(
        default="put:get=50:50", description="the operations and their shares"
    )
    key_distribution: Literal["uniform", "zipf"] = Field(
        default="uniform", description="how often each object is asked for: all alike, or few of them much more often (Zipf, exponent 0.99)"
    )
    bucket: str = Field(
        default="benchmark",
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        description="the bucket; one with objects that Fleetmark has not made is refused",
    )
    region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]{1,40}$", description="the region that signatures are for")
    use_https: bool = Field(default=False, description="whether the clients speak TLS; the same as an address with `https://`")
    warmup_delay: float = left_alone(10.0)


class Minio:
    """Describes the type `minio`; see `shared.services.base.ServiceKind`."""

    name = "minio"
    settings = MinioSettings
    client = MinioClient
    client_types: Mapping[str, Mapping[str, Any]] = {
        "minio": {},
        "minio_client": {},
        "minio_stress": {},
        "minio_smoke": {"object_size_bytes": 65_536, "num_objects": 10, "num_requests": 40},
    }
    startable = True
    schemes = ("http", "https")
    figures: Mapping[str, FigureKind] = {
        "put_ops_per_second": FigureKind("1/s", "higher", "objects per second that were written"),
        "get_ops_per_second": FigureKind("1/s", "higher", "objects per second that were read"),
        "put_bytes_per_second": FigureKind("B/s", "higher", "bytes of objects per second that were written, without the heads of HTTP"),
        "get_bytes_per_second": FigureKind("B/s", "higher", "bytes of objects per second that were read, without the heads of HTTP"),
    }

    def check_path(self, path: str) -> None:
        if path.strip("/"):
            raise ValueError(
                f"the address of an S3 server has no path, and this one has {path!r:.100}; write the bucket into `client.settings.bucket`"
            )

    def phases(self, client: ClientSettings, count: int | None, duration_s: float | None) -> tuple[Phase, ...]:
        assert isinstance(client, MinioClient)
        return one_phase("mixed", mix_of(client.operation_mix, OPERATIONS), count or client.num_requests or client.num_objects, duration_s)
