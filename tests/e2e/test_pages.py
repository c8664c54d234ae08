"""Runs the commands of the README and of the pages for users exactly as they are written, against a real system.

The commands of a fenced block `sh` are typed into bash. A block of another kind is written to a file if the sentence before it says so
("Save this as `mine.yaml`:"). Other blocks are only examples. A command that runs until Ctrl-C keeps running, as in a terminal of its own.
Where the machine allows it, the system has its own network, so that the ports are those of the pages.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli import zoo

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted((DOCS / "start").glob("*.md")), *sorted((DOCS / "how-to").glob("*.md"))]
ALONE = {"several-devices.md", "operate.md"}  # these pages start an orchestrator of their own
PATIENCE_S = 900

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAVED = re.compile(r"[Ss]ave this as `([^`]+)`[^`\n]*:\s*\Z")
STOPS = "# Ctrl-C in the terminal of `fleetmark up`"
STAYS = re.compile(r"^(?:\w+=\S+ )*\S*fleetmark (?:up|worker start)\b.*$")
INSTALLS = re.compile(r"^make (?:demo|up)\b.*\n", re.MULTILINE)  # these would install into the environment of the tests

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S + 300)]


def script_of(page: Path) -> str:
    """Return the commands that a reader of a page types, as a bash script."""
    lines: list[str] = []
    text = page.read_text()
    for block in FENCE.finditer(text):
        kind, content = block.groups()
        saved = SAVED.search(text[: block.start()])
        if kind == "sh":
            content = content.replace(STOPS, "ctrl_c")
            *before, last = INSTALLS.sub("", content).rstrip("\n").split("\n")
            stays = STAYS.match(last.partition("  #")[0].rstrip())
            lines += [*before, f"stay {last}" if stays else last]
        elif saved is not None:
            lines += [f"cat > {shlex.quote(saved[1])} <<'END_OF_FILE'", content.rstrip("\n"), "END_OF_FILE"]
    return "\n".join(lines) + "\n"


# This is what the reader has when a page begins: a clone in which `make demo` has been run. `make up` runs in another terminal.
BEGIN = r"""
set -eu -o pipefail
ip link set lo up 2>/dev/null || true
started=0 logs=0
stay() { logs=$((logs + 1)); env "$@" > "stay-$logs.log" 2>&1 & started=$((started + 1)); ready; }
ready() {
    for _ in $(seq 600); do
        seen=$(curl -fs -H "Authorization: Bearer ${FLEETMARK_TOKEN:-}" http://localhost:5000/api/workers || true)
        # Each of them has one worker: `fleetmark up` its own, and then each device.
        if [ "$(grep -o '"status": *"active"' <<< "$seen" | wc -l)" -ge "$started" ]; then return 0; fi
        sleep 0.2
    done
    cat stay-*.log
    return 1
}
ctrl_c() { kill -INT $!; wait $!; started=$((started - 1)); }  # stops what began last
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
source .venv/bin/activate
"""


def clone(folder: Path) -> Path:
    """Make the files that a clone contains, with the Python environment of this clone."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in tracked:
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / ".venv").symlink_to(ROOT / ".venv")
    zoo.make("squeezenet", folder / "recipes" / "models", lambda _: None)  # `make demo` makes it too
    return folder


def in_a_network(folder: Path) -> list[str]:
    """Return the beginning of a command that runs in a network of its own, with a table of hosts in which `lab` is this machine."""
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost lab\n")
    apart = ["unshare", "--net", "--mount"]
    if shutil.which("unshare") and subprocess.run([*apart, "true"], check=False, capture_output=True).returncode == 0:
        return [*apart, "sh", "-c", f'mount --bind {shlex.quote(str(hosts))} /etc/hosts && exec "$@"', "sh"]
    return []


def run_script(folder: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.sh").write_text(script)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_") and not name.lower().endswith("_proxy")}
    with (folder / "output.txt").open("w+") as output:
        done = subprocess.run(
            [*in_a_network(folder), "bash", "script.sh"],
            cwd=folder,
            # The system has its own lock. These commands only have to work, so it does not matter if other tests measure on this host at
            # the same time.
            env=kept | {"MPLCONFIGDIR": str(folder), "FLEETMARK_WORKER_LOCK_FILE": str(folder / "measure.lock")} | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        output.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, output.read())


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run all pages that need a running system, one after the other, on one system. Returns their output."""
    folder = clone(tmp_path_factory.mktemp("clone"))
    script = BEGIN + "stay fleetmark up\n"
    for page in PAGES:
        if page.name not in ALONE:
            script += f"echo '@@ {page.name}'\n(\nset -e\n{script_of(page)})\necho '@@ end of {page.name}'\n"
    return run_script(folder, script).stdout


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in ALONE], ids=lambda page: page.name)
def test_the_commands_of_a_page_work_as_they_stand(session: str, page: Path) -> None:
    begin, end = f"@@ {page.name}\n", f"@@ end of {page.name}\n"
    shown = session.partition(begin)[2].partition(end)[0]
    assert begin in session, f"an earlier page failed:\n{session[-3000:]}"
    assert end in session, f"{page.name}:\n{shown[-5000:]}"
    assert "Traceback" not in shown


def test_the_page_of_several_devices_works_as_it_stands(tmp_path: Path) -> None:
    """The packages of the device are fetched before, because its network has no access to the internet."""
    page, wheels = DOCS / "how-to" / "several-devices.md", tmp_path / "wheels"
    locked = ("--no-deps", "--require-hashes", "-r", str(ROOT / "requirements" / "worker-cpu.txt"))
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--dest", wheels, *locked], check=True, capture_output=True)
    done = run_script(clone(tmp_path / "clone"), BEGIN + script_of(page), PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))
    assert done.returncode == 0, done.stdout[-5000:]
    assert "squeezenet.onnx on cpu.onnx of bench-1: complete" in done.stdout, done.stdout[-5000:]


# This is what the reader of the page on operating has: a system with an administrator's token, a campaign that has ended, and a device's
# token.
OPERATED = r"""
export FLEETMARK_TOKEN=of-the-administrator
stay fleetmark up
printf 'name: small\nmodel: squeezenet\non: [cpu.onnx]\ninferences: 5\nrepeats: 1\n' > small.yaml
fleetmark run small.yaml --watch
fleetmark token create lab-pi --role worker > lab-pi.token
"""


def test_the_page_on_operating_works_as_it_stands(tmp_path: Path) -> None:
    """The page covers logs, a backup that is restored while nothing runs, the exchange of a device's token, and the removal of old data."""
    last = "echo \"@@ left: $(fleetmark list --ids | wc -l) campaign; tokens: $(fleetmark token list --json | jq -r '.[].name')\"\n"
    done = run_script(clone(tmp_path / "clone"), BEGIN + OPERATED + script_of(DOCS / "how-to" / "operate.md") + last)
    assert done.returncode == 0, done.stdout[-5000:]
    assert '"worker.tasks","attempt 1 of campaign-' in done.stdout, "the worker's lines of the job are shown"
    assert "_logs.tar.gz" in done.stdout
    first, again = ((tmp_path / "clone" / f"stay-{number}.log").read_text() for number in (1, 2))
    assert "Stopping" in first
    assert "Fleetmark is up" in again
    assert "Nothing is older than 90d" in done.stdout
    assert "@@ left: 1 campaign; tokens: lab-pi-2026\n" in done.stdout, "the database was restored, and the old token is revoked"


def test_the_pages_have_what_these_tests_look_for() -> None:
    scripts = {page.name: script_of(page) for page in PAGES}
    for name in ("README.md", "first-campaign.md", "own-model.md", "several-devices.md", "spreadsheets.md"):
        assert "fleetmark" in scripts[name], name
    assert scripts["several-devices.md"].count("\nstay ") == 2
    assert "cat > mine.yaml" in scripts["own-model.md"]
    assert "ctrl_c\n" in scripts["operate.md"]
