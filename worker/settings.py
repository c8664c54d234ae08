"""Defines the settings of a worker. They are read once at the start from the environment and the command line, which takes precedence."""

from __future__ import annotations

import platform
import socket
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.addresses import require_readable
from shared.brokers import require_broker
from shared.errors import FieldError, InvalidInput
from shared.hosts import without_brackets
from shared.hub import HUB
from shared.json_text import RepeatedKey, read_json_text
from shared.labels import price_of_text, with_a_price
from shared.log import FORMAT_HELP, LogFormat
from shared.masking import masked
from shared.orchestrators import orchestrator_address
from shared.tokens import usable_token, with_token_of_file

PREFIX = "FLEETMARK_"
MAY_BE_UNSET = (
    *("host", "redis_url", "token", "token_file", "ca_file"),
    *("worker_state_dir", "worker_spool_dir", "worker_cache_dir", "worker_lock_file"),
    *("worker_price_per_hour", "worker_max_cache_bytes", "worker_metrics_url", "hf_endpoint", "hf_token"),
)


class WorkerSettings(BaseSettings):
    """Holds the settings of one worker. The environment variable of a field is `FLEETMARK_` and the field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, populate_by_name=True)

    host: str | None = Field(default=None, description="address of the orchestrator, `http://name:5000`; all a worker needs")
    redis_url: str | None = Field(
        default=None, repr=False, description="address of the broker, where it differs from what the orchestrator says"
    )
    token: SecretStr | None = Field(default=None, description="bearer token with the role `worker`, where the orchestrator asks for one")
    token_file: Path | None = Field(default=None, description="file that holds the token, instead of FLEETMARK_TOKEN")
    ca_file: FilePath | None = Field(
        default=None, description="certificates (PEM) of an authority of your own, for an `https://` orchestrator and a `rediss://` broker"
    )
    heartbeat_s: float = Field(default=5.0, ge=0.1, le=300, description="seconds between two signs of life")
    heartbeat_timeout_s: float = Field(default=30.0, ge=1, le=3600, description="seconds of silence after which a worker counts as gone")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="what is logged")
    log_format: LogFormat = Field(default="auto", description=FORMAT_HELP)

    worker_host: str = Field(
        default="127.0.0.1",
        description="address that the worker's own info server listens on; beyond loopback, whoever asks sends FLEETMARK_TOKEN",
    )
    worker_port: int = Field(default=8081, ge=0, le=65535, description="port of the worker's own info server; 0 turns it off")
    worker_type: Literal["white_box", "gray_box", "black_box"] = Field(
        default="white_box",
        description="how far the worker sees into what it measures: a `white_box` sees its device; a `gray_box` sends requests to services "
        "and reads the metrics that they tell; a `black_box` only sends requests",
    )
    worker_name: str = Field(default="", max_length=200, description="name of the device in reports; default: its host name")
    worker_labels: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict, max_length=64, description="what recipes may ask for, `site=lab,rack=3` or a JSON object"
    )
    worker_price_per_hour: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="what an hour of this device costs, in any one currency"
    )
    worker_state_dir: Path | None = Field(
        default=None, description="identity and unanswered results; default: the user's state folder (`~/.local/state/fleetmark` on Linux)"
    )
    worker_spool_dir: Path | None = Field(default=None, description="results not yet answered; default: `spool` in the state folder")
    worker_cache_dir: Path | None = Field(
        default=None, description="fetched models; default: the user's cache folder (`~/.cache/fleetmark` on Linux)"
    )
    worker_lock_file: Path | None = Field(
        default=None,
        description="keeps two workers of a host from measuring at once; one file for all (default: in /run/lock, /var/lock or /tmp)",
    )
    worker_host_wait_s: float = Field(
        default=3600,
        gt=0,
        description="longest wait, in seconds, for another worker of this host to have measured; the job is then tried elsewhere",
    )
    worker_max_model_bytes: int = Field(
        default=8 * 2**30, gt=0, description="largest model that is fetched, with the files of its weights beside it"
    )
    worker_max_cache_bytes: int | None = Field(default=None, gt=0, description="what the cache may hold; the least recently used go")
    worker_allow_private_urls: bool = Field(
        default=False,
        description="fetch models that a recipe names from addresses of this device and its network too (loopback, private, link-local …), "
        "and through a proxy",
    )
    worker_telemetry_hz: float = Field(
        default=10.0,
        ge=0,
        le=10,
        allow_inf_nan=False,
        description="how often the device is sampled beside a measurement, in samples a second; 0 turns telemetry off",
    )
    worker_metrics_url: str | None = Field(
        default=None,
        description="a page with Prometheus metrics that is sampled beside each measurement, too, such as a service's own `/metrics`",
    )
    worker_drain: bool = Field(default=False, description="on SIGTERM finish the running job, instead of handing it back")

    # These are variables of the Hugging Face hub, which its other tools read as well.
    hf_endpoint: str | None = Field(
        default=None, validation_alias="HF_ENDPOINT", description=f"the hub that `hf://` means; default: `{HUB}`"
    )
    hf_token: SecretStr | None = Field(
        default=None, validation_alias="HF_TOKEN", description="token for that hub's private models; sent to that host only"
    )

    # These are the system's variables for the folders of a user's files.
    xdg_state_home: Path | None = Field(default=None, validation_alias="XDG_STATE_HOME", exclude=True)
    xdg_cache_home: Path | None = Field(default=None, validation_alias="XDG_CACHE_HOME", exclude=True)
    local_app_data: Path | None = Field(default=None, validation_alias="LOCALAPPDATA", exclude=True)

    @field_validator(*MAY_BE_UNSET, mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        """Treat an empty value as not set: Compose files and unit files pass `NAME=` for what is not set."""
        return None if isinstance(value, str) and not value.strip() else value

    @model_validator(mode="before")
    @classmethod
    def _token_of_file(cls, values: Any) -> Any:
        return with_token_of_file(values)

    @field_validator("token")
    @classmethod
    def _usable_token(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(usable_token(value.get_secret_value()))

    @field_validator("host")
    @classmethod
    def _whole_address(cls, value: str | None) -> str | None:
        return None if value is None else orchestrator_address(value)

    @field_validator("redis_url")
    @classmethod
    def _known_broker(cls, value: str | None) -> str | None:
        if value is not None:
            require_broker(value)
        return value

    @field_validator("worker_metrics_url")
    @classmethod
    def _page_of_metrics(cls, value: str | None) -> str | None:
        if value is not None and not (urlsplit(value).scheme in ("http", "https") and urlsplit(value).hostname):
            raise ValueError("the address of a page with metrics starts with http:// or https://, such as http://127.0.0.1:8000/metrics")
        return value

    @field_validator("hf_endpoint")
    @classmethod
    def _known_hub(cls, value: str | None) -> str | None:
        if value is not None:
            require_readable(value)
        if value is not None and not (urlsplit(value).scheme in ("http", "https") and urlsplit(value).hostname):
            raise ValueError("a hub's address starts with https:// (or http://) and names a host")
        return value

    @field_validator("worker_host", mode="before")
    @classmethod
    def _address_to_listen_on(cls, value: Any) -> Any:
        """Remove brackets. Treat an empty value as not set, because a server that listens on an empty address listens on all."""
        return (without_brackets(value) or cls.model_fields["worker_host"].default) if isinstance(value, str) else value

    @field_validator("worker_labels", mode="before")
    @classmethod
    def _labels(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("{"):
            return _json_labels(value)
        return parse_labels([part for part in value.split(",") if part.strip()])

    @field_validator("worker_price_per_hour", mode="before")
    @classmethod
    def _plain_price(cls, value: Any) -> Any:
        """Refuse what pydantic reads as another number than it seems to be: `1_50` would be 150."""
        if isinstance(value, str) and value.strip() and price_of_text(value) is None:
            raise ValueError(f"{value!r:.60} is no price: write a number of 0 or more, such as 1.50")
        return value

    @field_validator("worker_labels")
    @classmethod
    def _price(cls, labels: dict[str, str]) -> dict[str, str]:
        return with_a_price(labels)

    @model_validator(mode="after")
    def _timeout_outlasts_beats(self) -> WorkerSettings:
        if self.heartbeat_timeout_s < 2 * self.heartbeat_s:
            raise ValueError(
                f"heartbeat_timeout_s={self.heartbeat_timeout_s:g} is less than two beats of heartbeat_s={self.heartbeat_s:g}: "
                "one lost packet would make this worker faulty; raise the one or lower the other"
            )
        return self

    @property
    def device_name(self) -> str:
        return self.worker_name or socket.gethostname() or "unnamed"

    @property
    def state_dir(self) -> Path:
        return self.worker_state_dir or self._user_folder(self.xdg_state_home, ".local/state", "Library/Application Support")

    @property
    def spool_dir(self) -> Path:
        return self.worker_spool_dir or self.state_dir / "spool"

    @property
    def cache_dir(self) -> Path:
        return self.worker_cache_dir or self._user_folder(self.xdg_cache_home, ".cache", "Library/Caches")

    def _user_folder(self, xdg: Path | None, linux: str, mac: str) -> Path:
        """Return the folder for this user's files: XDG's folder on Linux, the system's own elsewhere.

        Raises:
            InvalidInput: The user has no home folder and nothing else is configured.
        """
        if xdg is not None and xdg.is_absolute():  # the specification says to ignore a relative path
            return xdg / "fleetmark"
        if platform.system() == "Windows" and self.local_app_data is not None:
            return self.local_app_data / "fleetmark"
        try:
            home = Path.home()
        except RuntimeError as error:
            raise InvalidInput(
                "this user has no home folder: set FLEETMARK_WORKER_STATE_DIR and FLEETMARK_WORKER_CACHE_DIR to folders it can write"
            ) from error
        return home / (mac if platform.system() == "Darwin" else linux) / "fleetmark"


def parse_labels(pairs: list[str]) -> dict[str, str]:
    """Return `["site=lab", "rack=3"]` as a mapping.

    Raises:
        ValueError: A pair has no `=` or no name.
    """
    labels: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{pair!r} is no label; write it as name=value")
        if name.strip() in labels:
            raise ValueError(f"the label {name.strip()!r} is given twice; keep one of the two")
        labels[name.strip()] = value.strip()
    return labels


def _json_labels(text: str) -> Any:
    """Return the labels in a JSON object.

    Raises:
        ValueError: It is not JSON, a label is given twice, or its value is no text.
    """
    try:
        labels = read_json_text(text)
    except RepeatedKey as error:
        raise ValueError(str(error)) from error
    if (wrong := next((name for name, value in labels.items() if not isinstance(value, str)), None)) is not None:
        raise ValueError(f"the value of the label {wrong!r} is {labels[wrong]!r:.80}, which is no text; write it in quotes")
    return labels


def load_settings(**given: Any) -> WorkerSettings:
    """Return the settings from the environment and from the command line, whose values take precedence. None means not given.

    Raises:
        InvalidInput: A value cannot be used. `fields` names each one by the variable or the option that it came from.
    """
    try:
        # The token file is read here, so that a token file from the command line takes precedence over a token in the environment.
        return WorkerSettings(**with_token_of_file({name: value for name, value in given.items() if value is not None}))
    except ValidationError as error:
        fields = [_field_error(dict(problem), given) for problem in error.errors(include_url=False)]
        raise InvalidInput("; ".join(f"{field.path}: {field.message}" for field in fields), fields=fields) from None
    except ValueError as error:
        raise InvalidInput(f"--token-file: {error}") from error


def _field_error(problem: dict[str, Any], given: dict[str, Any]) -> FieldError:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if not name:
        return FieldError("settings", str(problem["msg"]).removeprefix("Value error, "))
    own = name.upper() if name.isupper() else PREFIX + name.upper()  # a name in capitals is an alias: HF_ENDPOINT
    source = f"--{name.removeprefix('worker_').replace('_', '-')}" if given.get(name) is not None else own
    secret = name in ("token", "redis_url", "HF_TOKEN") or (name == "host" and "@" in str(problem["input"]))  # a login without a scheme
    shown = "" if secret else masked(f"={problem['input']!r}")
    return FieldError(f"{source}{shown}", str(problem["msg"]).removeprefix("Value error, "))
