"""Holds whole plug-ins for tests: packages that are installed as pip would, and plug-ins that are added to our own code."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# This is a whole engine in one file. It needs no library: its model is a text, and one inference counts the words of it.
TOY = """
from __future__ import annotations

from worker.engines.base import Facts, InputSpec
from worker.engines.registry import EngineEntry
from shared.errors import ModelInvalid


class ToyEngine:
    def load(self, model, options, capability):
        try:
            self.text = model.read_text()
        except (OSError, ValueError) as error:
            raise ModelInvalid(f"{model.name} is no text: {error}") from error

    def signature(self):
        return [InputSpec("x", "float", (1,))]

    def limits(self, shapes):
        return {}

    def bind(self, inputs):
        return self.text.split

    def facts(self):
        return Facts({"runtime": "toy", "version": "1.0", "words": len(self.text.split()), "inputs": []}, {"toy": "1.0"})

    def explain(self, error):
        return None

    def unload(self):
        del self.text


def why_not(capability, hardware):
    return ""


ENTRY = EngineEntry("toy_engine:ToyEngine", present="toy_engine:why_not", suffixes=(".txt",))
"""


def install(
    folder: Path,
    entry_points: dict[str, str],
    source: str = TOY,
    package: str = "toys",
    *,
    group: str = "fleetmark.engines",
    module: str = "toy_engine",
) -> Path:
    """Write a package into a folder. Python finds it when the folder is on its path.

    Args:
        entry_points: What the package brings: the name, such as a capability, and where its entry is. A name may begin with a group of its
            own, as in `fleetmark.tasks/mine`.
    """
    described = folder / f"{package}-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    groups: dict[str, list[str]] = {}
    for name, where in entry_points.items():
        own, _, rest = name.rpartition("/")
        groups.setdefault(own or group, []).append(f"{rest} = {where}")
    text = "".join("\n".join([f"[{one}]", *lines, ""]) for one, lines in groups.items())
    (described / "entry_points.txt").write_text(text)
    (folder / f"{module}.py").write_text(source)
    return folder


@dataclass(frozen=True)
class PlugIn:
    """Holds a plug-in that is added to our own code: a new file, and for each registry one entry below a line that is there.

    Attributes:
        file: The path of the new file, and `source` its content.
        entries: The path of a registry, a line that it has, and what is added below that line.
    """

    file: str
    source: str
    entries: tuple[tuple[str, str, str], ...]


# Measures the device with the standard library alone, and returns a unit that no other test has.
HARDWARE_TEST = PlugIn(
    "worker/hardware_tests/hashing.py",
    """
from __future__ import annotations

import hashlib
from time import perf_counter_ns

from worker.hardware_tests.base import Reading, Readings, Share


class Hashing:
    def run(self, share: Share) -> Readings:
        data, calls = bytes(2**20), []
        while not calls or not share.is_over():
            begin = perf_counter_ns()
            hashlib.sha256(data).digest()
            calls.append(len(data) * 1e3 / (perf_counter_ns() - begin))
        best = Reading("sha256_mb_per_s", "MB/s", "higher", max(calls), calls=tuple(calls), per_call=float(len(data)))
        return Readings((best, Reading("moon_percent", "percent", "higher", None, "this device has no telescope")), {"method": "hashlib"})


def why_not(capability: str, hardware: object) -> str:
    return ""
""",
    (
        (
            "worker/hardware_tests/registry.py",
            '    "hardware.cpu": {',
            '        "hashing": TestEntry("worker.hardware_tests.hashing:Hashing", present="worker.hardware_tests.hashing:why_not"),',
        ),
        ("shared/kinds/hardware.py", "TESTS: Mapping[str, str] = {", '    "hashing": "how fast SHA-256 is",'),
    ),
)

# Reads how long the system runs, which no other column says. It shows a power, too, as the meter of a board does.
SAMPLER = PlugIn(
    "worker/samplers/uptime.py",
    '''
from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.columns import Column
from worker.samplers.base import Lack, Place, Values


def lack(place: Place) -> Lack | None:
    return None if (place.root / "proc/uptime").exists() else Lack("this system does not say how long it runs")


class Uptime:
    def __init__(self, place: Place) -> None:
        self._file = place.root / "proc/uptime"

    def open(self) -> Sequence[Column]:
        return [Column("device_uptime_s", "s", "uptime"), Column("toy_w", "W", "uptime", role="power", feeds="board")]

    def read(self) -> Values:
        return [float(self._file.read_text().split()[0]), 7.5]

    def missing(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        """Nothing stays open."""
''',
    (
        (
            "worker/samplers/registry.py",
            "SAMPLERS: dict[str, SamplerEntry] = {",
            '    "uptime": SamplerEntry("worker.samplers.uptime:Uptime", feeds=("board",)),',
        ),
    ),
)

# Is what a recipe may say about the type of service. The driver of HTTP speaks with it.
SERVICE_WORDS = PlugIn(
    "shared/services/echo.py",
    """
from __future__ import annotations

from pydantic import Field

from shared.services.base import ClientSettings, Phase, ServiceSettings


class EchoSettings(ServiceSettings):
    says: str = Field(default="hello", max_length=100, description="what the server answers")


class EchoClient(ClientSettings):
    num_requests: int = Field(default=100, ge=1, le=1_000_000, description="how many requests each repeat sends")
    warmup_delay: float = Field(default=0.0, ge=0, description="how long the server is left alone before the first request, in seconds")


class Echo:
    name = "echo"
    settings = EchoSettings
    client = EchoClient
    client_types = {"echo": {}}
    startable = True
    schemes = ("http",)
    figures = {}

    def phases(self, client, count, duration_s):
        requests = None if duration_s is not None else count or client.num_requests
        return (Phase(name="requests", operations={"get": 1.0}, count=requests, duration_s=duration_s),)
""",
    (
        ("shared/services/registry.py", "from shared.services.base import ServiceKind", "from shared.services.echo import Echo"),
        ("shared/services/registry.py", "_ALL: tuple[ServiceKind, ...] = (", "    Echo(),"),
        ("shared/capabilities.py", "DRIVEN = (", '    "echo",'),
        (
            "worker/drivers/registry.py",
            "DRIVERS: dict[str, DriverEntry] = {",
            '    "echo": DriverEntry("worker.drivers.http:HttpDriver", ("httptools",), wire="http"),',
        ),
    ),
)

# Says how the server of this type is started, and asks it whether it is healthy.
SERVICE = PlugIn(
    "worker/services/echo.py",
    '''
from __future__ import annotations

import sys
from urllib.request import urlopen

from worker.services.base import LOOPBACK, Command, Container, NotHealthy

PROGRAM = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        said = sys.argv[2].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


class EchoService:
    needs_other_user = False

    def version(self):
        return "echo 1"

    def check(self, settings):
        """Every setting can be met."""

    def data_parent(self, settings):
        return None

    def prepare(self, settings, place):
        return ()

    def command(self, settings, place):
        return Command([sys.executable, "-I", "-S", "-c", PROGRAM, str(place.port), settings["says"]])

    def container(self, settings, port, connections):
        return Container([str(port)], "/data")

    def address(self, settings, port):
        return f"http://{LOOPBACK}:{port}"

    def health(self, settings, port):
        try:
            with urlopen(f"http://{LOOPBACK}:{port}/", timeout=1) as answer:
                if answer.read().decode() != settings["says"]:
                    raise NotHealthy("it says something else")
        except OSError as error:
            raise NotHealthy(str(error)) from error

    def metrics(self, settings, port):
        return {}
''',
    (("worker/services/registry.py", "SERVICES: dict[str, str] = {", '    "echo": "worker.services.echo:EchoService",'),),
)


def with_plug_ins(folder: Path, *added: PlugIn) -> Path:
    """Return a copy of our own code in a folder, with these plug-ins added as CONTRIBUTING says."""
    for package in ("cli", "orchestrator", "recipes", "shared", "worker"):
        shutil.copytree(ROOT / package, folder / package)
    for one in added:
        (folder / one.file).write_text(one.source)
        for registry, below, entry in one.entries:
            path = folder / registry
            before, line, after = path.read_text().partition(f"{below}\n")
            assert line, f"{registry} has no line {below!r}"
            path.write_text(f"{before}{line}{entry}\n{after}")
    return folder
