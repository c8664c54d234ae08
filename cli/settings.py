"""Reads the settings of the command line from the environment, and makes the environment of the processes that it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.addresses import require_readable, shown_address
from shared.brokers import require_broker
from shared.errors import FieldError, InvalidInput
from shared.masking import masked
from shared.tokens import usable_token, with_token_of_file
from worker.settings import DEFAULT_PORT, orchestrator_address

PREFIX = "FLEETMARK_"
LOOPBACK = "127.0.0.1"


class CliSettings(BaseSettings):
    """Holds the settings of `fleetmark`. The environment variable of a field is `FLEETMARK_` and the field's name in upper case."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)

    host: str = Field(default=LOOPBACK, description="address of the orchestrator to talk to (`http://name:5000`, or a name alone)")
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535, description="port of `fleetmark up`, and of a FLEETMARK_HOST that names none")
    token: SecretStr | None = Field(default=None, description="bearer token of the orchestrator, where it asks for one")
    token_file: Path | None = Field(default=None, description="file that holds the token, instead of FLEETMARK_TOKEN")
    ca_file: FilePath | None = Field(
        default=None, description="certificates (PEM) of an authority of your own, for an `https://` orchestrator and a `rediss://` broker"
    )
    tls_cert: FilePath | None = Field(default=None, description="`fleetmark up` serves https with this certificate chain (PEM)")
    data_dir: Path = Field(default=Path(".fleetmark"), description="where `fleetmark up` and `demo` keep Redis, SQLite, models and logs")
    outputs_dir: Path = Field(default=Path("outputs"), description="where CSV files and run folders go")
    redis_url: str | None = Field(default=None, repr=False, description="a Redis of yours, which `fleetmark up` then does not start")
    orchestrator_redis_password: SecretStr | None = Field(
        default=None, description="password that `fleetmark redis-acl` gives to the orchestrator; default: a new one"
    )
    flower_redis_password: SecretStr | None = Field(
        default=None, description="password that `fleetmark redis-acl` gives to Flower; default: a new one"
    )
    database_url: str | None = Field(
        default=None, repr=False, description="a database of yours, instead of the SQLite file of `fleetmark up`"
    )

    flower_basic_auth: str | None = Field(default=None, validation_alias="FLOWER_BASIC_AUTH", exclude=True)  # a variable of Flower
    flower_conf: str | None = Field(default=None, validation_alias="FLOWER_CONF", exclude=True)  # a variable of Flower

    @model_validator(mode="before")
    @classmethod
    def _token_of_file(cls, values: Any) -> Any:
        return with_token_of_file(values)

    @field_validator("token")
    @classmethod
    def _empty_is_unset(cls, value: SecretStr | None) -> SecretStr | None:
        given = value.get_secret_value().strip() if value is not None else ""
        return SecretStr(usable_token(given)) if given else None

    @field_validator("redis_url")
    @classmethod
    def _usable_broker(cls, url: str | None) -> str | None:
        if url is not None:
            require_broker(url)
        return url

    @field_validator("database_url")
    @classmethod
    def _readable_address(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith("sqlite:"):
            require_readable(url)
        return url

    @property
    def secret(self) -> str | None:
        return self.token.get_secret_value() if self.token is not None else None

    def address(self, host: str | None = None) -> str:
        """Return the complete address of the orchestrator. `host` is the option `--host`, if it was given.

        Raises:
            InvalidInput: the address is not valid.
        """
        typed = (host or self.host).strip()
        try:
            return orchestrator_address(typed, self.port)
        except ValueError as error:
            raise InvalidInput(str(error)) from error


def load_settings(redis_url: str | None = None) -> CliSettings:
    """Read the settings from the environment. `redis_url` is the option `--redis-url`, if it was given.

    Raises:
        InvalidInput: the value of a variable is not valid. The message names the variable.
    """
    try:
        return CliSettings(redis_url=redis_url) if redis_url else CliSettings()
    except ValidationError as error:
        fields = [_field_error(dict(item)) for item in error.errors(include_url=False)]
        raise InvalidInput("; ".join(f"{field.path}: {field.message}" for field in fields), fields=fields) from None


def _field_error(item: dict[str, Any]) -> FieldError:
    name, said = (str(item["loc"][0]) if item["loc"] else "token_file"), str(item["msg"]).removeprefix("Value error, ")
    value = shown_address(str(item["input"])) if name.endswith("_url") else item["input"]
    shown = "" if name in ("token", "token_file") else masked(f", not {value!r}")
    return FieldError(PREFIX + name.upper(), f"{said}{shown}")


def sqlite_url(file: Path) -> str:
    """Return the URL of a SQLite database. Characters such as `?` and `%` in the file name are percent-encoded."""
    return f"sqlite:///{quote(str(file))}"


def child_environment(without: str | None = None, defaults: Mapping[str, str] | None = None, **values: str) -> dict[str, str]:
    """Return the environment for a process. Later items override earlier ones: `defaults`, this process's environment, `values`.

    Args:
        without: variables of this process that begin with this prefix are left out.
    """
    ours = dict(os.environ)  # noqa: TID251 (this is the only place that passes the environment to child processes)
    kept = {name: value for name, value in ours.items() if without is None or not name.startswith(without)}
    return {**(defaults or {}), **kept, "PYTHONUNBUFFERED": "1", **values}
