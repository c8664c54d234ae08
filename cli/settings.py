"""Reads the settings of the command line from the environment, and makes the environment of the processes that it starts.

The orchestrator and the worker read theirs with pydantic-settings. This module does without it, because importing it takes as long as all
the rest that a command such as `fleetmark list` needs (docs/why/benchmarks.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shared.addresses import require_readable, shown_address
from shared.brokers import require_broker
from shared.errors import FieldError, InvalidInput
from shared.masking import masked
from shared.orchestrators import DEFAULT_PORT, orchestrator_address
from shared.tokens import usable_token, with_token_of_file

PREFIX = "FLEETMARK_"
LOOPBACK = "127.0.0.1"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise ValueError("a port is a whole number from 0 to 65535")
    return int(text)


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise ValueError("there is no such file")
    return Path(text)


def _broker(text: str) -> str:
    require_broker(text)
    return text


def _database(text: str) -> str:
    if not text.startswith("sqlite:"):
        require_readable(text)
    return text


def _token(text: str) -> str | None:
    return usable_token(text) if text.strip() else None


def _about(description: str, read: Callable[[str], Any] = str, variable: str = "") -> dict[str, Any]:
    """Describe a field of the settings.

    Args:
        read: makes the value from the text of the variable. It raises a ValueError, with a message for the user, if it cannot.
        variable: the name of the variable if it is another program's, and so not made from the field's name.
    """
    return {"description": description, "read": read, "variable": variable}


@dataclass(frozen=True, kw_only=True)
class CliSettings:
    """Holds the settings of `fleetmark`. The environment variable of a field is `FLEETMARK_` and the field's name in upper case.

    A field with `repr=False` may be a secret. Its value does not appear in error messages either.
    """

    host: str = field(default=LOOPBACK, metadata=_about("address of the orchestrator to talk to (`http://name:5000`, or a name alone)"))
    port: int = field(default=DEFAULT_PORT, metadata=_about("port of `fleetmark up`, and of a FLEETMARK_HOST that names none", _port))
    token: str | None = field(default=None, repr=False, metadata=_about("bearer token of the orchestrator, where it asks for one", _token))
    token_file: Path | None = field(
        default=None, repr=False, metadata=_about("file that holds the token, instead of FLEETMARK_TOKEN", Path)
    )
    ca_file: Path | None = field(
        default=None,
        metadata=_about("certificates (PEM) of an authority of your own, for an `https://` orchestrator and a `rediss://` broker", _file),
    )
    tls_cert: Path | None = field(default=None, metadata=_about("`fleetmark up` serves https with this certificate chain (PEM)", _file))
    data_dir: Path = field(
        default=Path(".fleetmark"), metadata=_about("where `fleetmark up` and `demo` keep Redis, SQLite, models and logs", Path)
    )
    outputs_dir: Path = field(default=Path("outputs"), metadata=_about("where CSV files and run folders go", Path))
    redis_url: str | None = field(
        default=None, repr=False, metadata=_about("a Redis of yours, which `fleetmark up` then does not start", _broker)
    )
    orchestrator_redis_password: str | None = field(
        default=None,
        repr=False,
        metadata=_about("password that `fleetmark redis-acl` gives to the orchestrator; default: a new one"),
    )
    flower_redis_password: str | None = field(
        default=None, repr=False, metadata=_about("password that `fleetmark redis-acl` gives to Flower; default: a new one")
    )
    database_url: str | None = field(
        default=None, repr=False, metadata=_about("a database of yours, instead of the SQLite file of `fleetmark up`", _database)
    )

    # Flower defines and documents these variables.
    flower_basic_auth: str | None = field(default=None, repr=False, metadata=_about("", variable="FLOWER_BASIC_AUTH"))
    flower_conf: str | None = field(default=None, metadata=_about("", variable="FLOWER_CONF"))

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
    # Variables without a value count as not set: Compose files and unit files pass `NAME=` for these.
    environment = {name.upper(): value for name, value in os.environ.items() if value}  # noqa: TID251 (the door of the command line)
    texts = {one.name: environment[variable] for one, variable in variables() if variable in environment}
    if redis_url:
        texts["redis_url"] = redis_url
    wrong: list[FieldError] = []
    try:
        texts = with_token_of_file(texts)
    except ValueError as error:
        wrong.append(FieldError(f"{PREFIX}TOKEN_FILE", str(error)))
    values: dict[str, Any] = {}
    for one, variable in variables():
        if one.name in texts:
            try:
                values[one.name] = one.metadata["read"](texts[one.name])
            except ValueError as error:
                wrong.append(FieldError(variable, f"{error}{_shown(one, texts[one.name])}"))
    if wrong:
        raise InvalidInput("; ".join(f"{item.path}: {item.message}" for item in wrong), fields=wrong)
    return CliSettings(**values)


def variables() -> Iterator[tuple[Field[Any], str]]:
    """Yield each setting, and the name of the environment variable that it is read from."""
    for one in fields(CliSettings):
        yield one, one.metadata["variable"] or PREFIX + one.name.upper()


def _shown(setting: Field[Any], text: str) -> str:
    """Return the wrong value of a setting for an error message: an address without its login, and nothing of a secret."""
    if setting.name.endswith("_url"):
        return masked(f", not {shown_address(text)!r}")
    return masked(f", not {text!r}") if setting.repr else ""


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
