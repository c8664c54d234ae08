"""Provides a double of the Hugging Face hub on the loopback, with the part of its HTTP API that downloads use.

It answers as the documentation of the hub and the library `huggingface_hub` describe. `tests/engines/llm/test_hub.py` lets that library
download from it. A second server stands for the store of large files, to which the hub redirects.

    GET  /api/models/{repo}[/revision/{revision}] the commit, and with `blobs=true` the size and the hashes of each file
    GET  /api/models/{repo}/tree/{commit}         the same as a list
    GET, HEAD /{repo}/resolve/{revision}/{file}   a redirect: of a file in Git LFS to the store, of a small one to `/api/resolve-cache/…`
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.file_server import FileServer, file_server
from tests.server_threads import http_thread

LFS = (".safetensors", ".bin", ".model")  # files with these endings are in Git LFS


@dataclass
class Repository:
    """Holds the files of each commit, and the commit of each branch and tag."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add a commit. Return its id."""
        text = json.dumps([len(self.commits), sorted((name, hashlib.sha1(data).hexdigest()) for name, data in files.items())])
        commit = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.names[branch] = commit
        return commit

    def at(self, revision: str) -> str | None:
        return self.names.get(revision, revision if revision in self.commits else None)


@dataclass
class HubServer:
    """Holds the repositories, the accounts, the faults to show, and the requests that were received."""

    store: FileServer
    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: dict[str, set[str]] = field(default_factory=dict)  # the gated and private repositories that each token may read
    is_down: bool = False  # answer 503 to everything
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # method, path, headers

    def repository(self, name: str, files: dict[str, bytes]) -> Repository:
        made = self.repositories[name] = Repository()
        made.commit(files)
        return made

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.requests]


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(content: bytes) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256(content).hexdigest()}\nsize {len(content)}\n".encode()


def _sibling(name: str, content: bytes, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": name}
    if not name.endswith(LFS):
        return {"rfilename": name, "size": len(content), "blobId": git_sha1(content)}
    known = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": len(pointer(content))}
    return {"rfilename": name, "size": len(content), "blobId": git_sha1(pointer(content)), "lfs": known}


def _entry(name: str, content: bytes) -> dict[str, Any]:
    if not name.endswith(LFS):
        return {"type": "file", "oid": git_sha1(content), "size": len(content), "path": name}
    sha256 = hashlib.sha256(content).hexdigest()
    known = {"oid": sha256, "size": len(content), "pointerSize": len(pointer(content))}
    return {"type": "file", "oid": git_sha1(pointer(content)), "size": len(content), "lfs": known, "path": name}


def _handler(state: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class'
            """Print nothing."""

        def do_HEAD(self) -> None:
            self._serve()

        def do_GET(self) -> None:
            self._serve()

        def _serve(self) -> None:
            state.requests.append((self.command, self.path, dict(self.headers.items())))
            if state.is_down:
                return self._answer(503, {}, b"maintenance")
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            query = parse_qs(urlsplit(self.path).query)
            if parts[:2] == ["api", "models"] and len(parts) == 4:
                return self._api("/".join(parts[2:4]), "revision", "main", query)
            if parts[:2] == ["api", "models"] and len(parts) >= 6:
                return self._api("/".join(parts[2:4]), parts[4], parts[5], query)
            if parts[:3] == ["api", "resolve-cache", "models"]:
                return self._small("/".join(parts[3:5]), parts[5], "/".join(parts[6:]))
            if len(parts) >= 5 and parts[2] == "resolve":
                return self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            return self._refuse(404, "", "Sorry, we can't find the page you are looking for.")

        def _api(self, name: str, what: str, revision: str, query: dict[str, list[str]]) -> None:
            found = self._found(name, revision)
            if found is None:
                return None
            repository, commit = found
            files = repository.commits[commit]
            if what == "tree":
                return self._json([_entry(path, content) for path, content in sorted(files.items())])
            blobs = query.get("blobs", [""])[0].lower() in ("true", "1")
            body = {"id": name, "modelId": name, "sha": commit, "private": repository.private, "gated": repository.gated, "tags": []}
            return self._json({**body, "siblings": [_sibling(path, content, blobs) for path, content in sorted(files.items())]})

        def _resolve(self, name: str, revision: str, path: str) -> None:
            found = self._found(name, revision, downloads=True)
            if found is None:
                return None
            repository, commit = found
            content = repository.commits[commit].get(path)
            if content is None:
                return self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
            if not path.endswith(LFS):
                location = f"/api/resolve-cache/models/{name}/{commit}/{path}"
                return self._answer(307, {"Location": location, "X-Repo-Commit": commit, "ETag": f'"{git_sha1(content)}"'})
            sha256 = hashlib.sha256(content).hexdigest()
            state.store.files.setdefault(f"/{sha256}", content)
            headers = {
                "Location": f"{state.store.url}/{sha256}?X-Amz-Signature=signed",
                "X-Repo-Commit": commit,
                "X-Linked-Size": str(len(content)),
                "X-Linked-ETag": f'"{sha256}"',
                "ETag": f'"{git_sha1(pointer(content))}"',
            }
            return self._answer(302, headers)

        def _small(self, name: str, commit: str, path: str) -> None:
            found = self._found(name, commit, downloads=True)
            if found is None:
                return None
            content = found[0].commits[commit].get(path, b"")
            served = state.store.files.get(f"/small/{path}", content)  # a test may put other bytes there
            etag = f'"{git_sha1(content)}"'
            if self.headers.get("If-None-Match") == etag:
                return self._answer(304, {"ETag": etag, "X-Repo-Commit": commit})
            return self._answer(200, {"ETag": etag, "X-Repo-Commit": commit}, served)

        def _found(self, name: str, revision: str, *, downloads: bool = False) -> tuple[Repository, str] | None:
            """Return the repository and the commit if the caller may read them. Otherwise answer why not, as the hub does."""
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if token and token not in state.tokens:
                self._refuse(401, "", "Invalid credentials in Authorization header")
                return None
            repository = state.repositories.get(name)
            may_read = name in state.tokens.get(token, set())
            if repository is None or (repository.private and not may_read):
                self._refuse(404 if token else 401, "RepoNotFound", "Repository not found" if token else "Invalid username or password.")
                return None
            commit = repository.at(revision)
            if commit is None:
                self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
                return None
            if repository.gated and downloads and not may_read:  # everybody may list the files of a gated repository
                why = "you are not in the authorized list" if token else "You must have access to it and be authenticated to access it"
                self._refuse(403 if token else 401, "GatedRepo", f"Access to model {name} is restricted, and {why}")
                return None
            return repository, commit

        def _json(self, body: object) -> None:
            self._answer(200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(body).encode())

        def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
            said = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
            self._answer(status, said, json.dumps({"error": message}).encode())

        def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.write(body)

    return Handler


@contextlib.contextmanager
def hub_server() -> Iterator[HubServer]:
    with file_server() as store:
        state = HubServer(store)
        with http_thread(_handler(state)) as port:
            state.url = f"http://127.0.0.1:{port}"
            yield state
