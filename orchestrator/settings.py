"""Defines the settings. They are read once, when a process starts, from `FLEETMARK_*`, and passed in from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pydantic import Field, FilePath, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.addresses import require_readable
from shared.brokers import require_broker
from shared.hosts import without_brackets
from shared.log import FORMAT_HELP, LogFormat
from shared.tls import broker_trusting
from shared.tokens import usable_token, with_token_of_file

SQLITE_OPTIONS = frozenset({"timeout", "check_same_thread", "cached_statements", "uri", "mode", "cache", "nolock", "vfs"})


RENAMED = {"sweep_s": "watch_sweep_s"}  # old names, which are read with a warning until version 0.2.0


class Settings(BaseSettings):
    """Holds the settings of the orchestrator's processes (API, consumer, watch)."""

    model_config = SettingsConfigDict(env_prefix="FLEETMARK_", extra="ignore")

    host: str = Field(default="127.0.0.1", description="the address that the API listens on; every address except loopback needs a token")
    port: int = Field(default=5000, ge=0, le=65535, description="the port that the API listens on")
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", repr=False, description="the address of Redis, which is the broker and the registry"
    )
    worker_redis_url: str | None = Field(
        default=None, repr=False, description="the broker's address as workers reach it, if it differs from `FLEETMARK_REDIS_URL`"
    )
    broker_logins: bool = Field(
        default=False,
        description="give each worker a Redis login of its own when it enrols (needs Redis 7.0 or newer); otherwise "
        "all workers get the orchestrator's login",
    )
    database_url: str = Field(
        default="sqlite:///.fleetmark/fleetmark.db",
        repr=False,
        description="the address of the database: `sqlite:///path` or `postgresql+psycopg://user:password@host/name`",
    )
    outputs_dir: Path = Field(default=Path("outputs"), description="the folder for reports and CSV files")
    recipes_dir: Path = Field(
        default=Path("recipes"), description="the folder in which recipes, and models that are known by name, are looked up"
    )
    models_dir: Path = Field(
        default=Path(".fleetmark/models"), description="the folder for uploaded models, which are stored by their content"
    )
    token: SecretStr | None = Field(
        default=None,
        description="a bearer token with the role `admin`; once there is this token, or one made by `fleetmark token`, "
        "every call except GET /api/health needs a token",
    )
    token_file: Path | None = Field(default=None, description="a file that holds the token, instead of FLEETMARK_TOKEN")
    trusted_proxies: str = Field(
        default="",
        description="the addresses of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, separated by commas",
    )
    tls_cert: FilePath | None = Field(default=None, description="serve https with this certificate chain (PEM)")
    tls_key: FilePath | None = Field(default=None, validate_default=True, description="the private key of FLEETMARK_TLS_CERT (PEM)")
    ca_file: FilePath | None = Field(default=None, description="certificates (PEM) of an authority of your own, for a `rediss://` broker")
    heartbeat_s: float = Field(default=5.0, gt=0, description="the time between two heartbeats of a worker, in seconds")
    heartbeat_timeout_s: float = Field(default=30.0, gt=0, description="after how many seconds without a heartbeat a worker is faulty")
    watch_sweep_s: float = Field(default=2.0, gt=0, description="the time between two sweeps of the watch, in seconds")
    sweep_s: float | None = Field(default=None, gt=0, exclude=True)  # what `watch_sweep_s` was called before; see `RENAMED`
    deadline_grace_s: float = Field(
        default=900.0, ge=0, description="seconds that are added to a job's own timeout, for fetching the model and waiting for the host"
    )
    quarantine_after: int = Field(
        default=5, ge=1, description="how many faults within the window below put a device into quarantine, where it gets no work"
    )
    quarantine_window_s: float = Field(default=600.0, gt=0, description="after how many seconds a fault is forgotten")
    quarantine_s: float = Field(
        default=60.0,
        gt=0,
        description="how long a device's first quarantine lasts, in seconds; each further one lasts twice as long, but at most an hour",
    )
    max_body_bytes: int = Field(default=64 * 2**20, gt=0, description="the largest JSON or YAML body that is accepted, in bytes")
    max_model_bytes: int = Field(default=8 * 2**30, gt=0, description="the largest model that can be uploaded, in bytes")
    max_connections: int = Field(
        default=1000, gt=0, description="how many connections may be open at a time; a further one is answered 503"
    )
    max_connections_per_address: int = Field(
        default=125,
        gt=0,
        description="how many of them may come from one address; a trusted proxy has no such limit, and there is none "
        "if the API listens on loopback only",
    )
    request_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="how many seconds the head of a request may take, a client may take to accept an answer, and a "
        "body may take beyond 16 kB/s",
    )
    log_level: str = Field(default="info", description="the least level of messages that are logged: debug, info, warning or error")

    log_format: LogFormat = Field(default="auto", description=FORMAT_HELP)

    @model_validator(mode="before")
    @classmethod
    def _token_of_file(cls, values: Any) -> Any:
        return with_token_of_file(values)

    @field_validator("token")
    @classmethod
    def _usable_token(cls, value: SecretStr | None) -> SecretStr | None:
        """Check the token. An empty one counts as not set, because Compose files and unit files pass `NAME=` for unset values."""
        given = value.get_secret_value().strip() if value is not None else ""
        return SecretStr(usable_token(given)) if given else None

    @field_validator("tls_cert", "tls_key", "ca_file", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        """Treat an empty value as not set, because Compose files and unit files pass `NAME=` for unset values."""
        return None if value == "" else value

    @field_validator("tls_key")
    @classmethod
    def _goes_with_certificate(cls, value: FilePath | None, info: ValidationInfo) -> FilePath | None:
        if (value is None) != (info.data.get("tls_cert") is None):
            raise ValueError("goes together with FLEETMARK_TLS_CERT: give both, or neither")
        return value

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, host: str) -> str:
        return without_brackets(host)

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        """Check the database's address. For `postgres://` and `postgresql://`, which providers use, add the installed driver."""
        scheme, separator, rest = url.partition("://")
        if separator and scheme in ("postgres", "postgresql"):
            scheme, url = "postgresql+psycopg", f"postgresql+psycopg://{rest}"
        if not separator or scheme not in ("sqlite", "postgresql+psycopg"):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        if scheme == "sqlite":
            _require_file(url)
        else:
            require_readable(url)
        return url

    @field_validator("redis_url", "worker_redis_url")
    @classmethod
    def _known_broker(cls, url: str | None) -> str | None:
        if url is not None:
            require_broker(url)
        return url

    @model_validator(mode="after")
    def _renamed(self) -> Settings:
        for old, new in RENAMED.items():
            if old in self.model_fields_set and new not in self.model_fields_set:
                setattr(self, new, getattr(self, old))
        return self

    @property
    def old_names(self) -> list[str]:
        """Return a sentence for each variable that is set by a name of an earlier version."""
        return [
            f"FLEETMARK_{old.upper()} is called FLEETMARK_{new.upper()} now; the old name is read until version 0.2.0"
            for old, new in RENAMED.items()
            if old in self.model_fields_set
        ]

    @model_validator(mode="after")
    def _whom_to_believe(self) -> Settings:
        self.redis_url = broker_trusting(self.redis_url, self.ca_file)
        return self


def _require_file(url: str) -> None:
    """Check that the address of a SQLite database names a file.

    Raises:
        ValueError: it names no file, or probably not the intended file.
    """
    file, _, options = url.removeprefix("sqlite://").partition("?")
    if not file.startswith("/") or file.strip("/") in ("", ":memory:"):
        raise ValueError("must name a file, as sqlite:///fleetmark.db or sqlite:////srv/fleetmark.db does: all processes share it")
    if unknown := sorted({name for name, _ in parse_qsl(options, keep_blank_values=True)} - SQLITE_OPTIONS):
        raise ValueError(
            f"has no option {unknown[0]!r} after the `?`; if the `?` belongs to the file's name, write it as %3F, and a % as %25"
        )
