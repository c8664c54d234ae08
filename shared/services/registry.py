"""Maps the type of each service to its description. A new type needs one file beside this one, and one line here."""

from __future__ import annotations

from shared.services.base import ServiceKind
from shared.services.chroma import Chroma
from shared.services.http import Http
from shared.services.minio import Minio
from shared.services.ollama import Ollama
from shared.services.openai import OpenAi
from shared.services.postgres import Postgres
from shared.services.qdrant import Qdrant
from shared.services.redis import Redis
from shared.services.triton import Triton
from shared.services.vllm import Vllm

_ALL: tuple[ServiceKind, ...] = (
    Redis(),
    Postgres(),
    Http(),
    Minio(),
    Chroma(),
    Qdrant(),
    OpenAi(),
    Vllm(),
    Ollama(),
    Triton(),
)
SERVICES: dict[str, ServiceKind] = {kind.name: kind for kind in _ALL}
# Maps each name of a client to the type of its service.
CLIENT_TYPES: dict[str, str] = {client: kind.name for kind in _ALL for client in kind.client_types}
# Maps the type of each service to its capability. An address that speaks OpenAI's protocol is an API, whoever runs it.
CAPABILITIES: dict[str, str] = {kind.name: f"service.{kind.name}" for kind in _ALL} | {"openai": "api.openai"}
