"""Writes the generated files: tables of settings, commands, recipe keys and roles, and the Redis users for compose.yaml.

With `--check`, it only checks that these files are current:

python -m tools.reference
python -m tools.reference --check
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from fastapi.routing import APIRoute
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings
from rich.text import Text

from cli.main import app
from cli.settings import variables
from orchestrator.api import metrics
from orchestrator.api.application import ROUTERS
from orchestrator.api.roles import MAY_CALL, OPEN
from orchestrator.reports.sheets.registry import SHEETS, sheet_of
from orchestrator.settings import Settings
from orchestrator.verdicts.figures import SAMPLED
from shared import telemetry
from shared.capabilities import LABELS
from shared.engine_options import EngineOptions
from shared.kinds.generation import DecodingSection, PromptsSection
from shared.kinds.generation_task import TaskSection
from shared.kinds.hardware import HardwareSection
from shared.kinds.load import Slo
from shared.kinds.registry import KINDS
from shared.protocol.logins import FLOWER, ORCHESTRATOR, flower_rules, orchestrator_rules, setuser
from shared.recipes import ModelEntry, Recipe, Requirements
from shared.recipes.schema import Retries
from shared.recipes.services import BenchmarksSection, ClientSection, ConfigurationSection, LoadSection, MonitoringSection, ServiceSection
from shared.repetition import StopRule, Warmup
from shared.services.postgres import Tuning
from shared.services.registry import SERVICES
from shared.tokens import Role
from tools.recipe_examples import shown_example
from worker.cli import app as worker_app
from worker.drivers.registry import DRIVERS
from worker.engines.registry import ENGINES, OF_INPUTS
from worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parent.parent
MADE_BY = "<!-- Made by `make docs` from the code; do not edit by hand. -->\n"

CLASSES: list[tuple[str, str, type[BaseSettings]]] = [
    (
        "The orchestrator",
        "API, consumer and watch read these variables, whether `python -m orchestrator.cli …` or `fleetmark up` starts them.",
        Settings,
    ),
    ("A worker", "`fleetmark worker start` reads these variables. Options of the command line win over them.", WorkerSettings),
]


def configuration() -> str:
    """Return docs/reference/configuration.md: a table for each settings class."""
    parts = [MADE_BY, "# Configuration\n"]
    parts.append("Every setting is an environment variable. A process reads them once, when it starts. There is no configuration file.\n")
    for title, about, settings in CLASSES:
        prefix = str(settings.model_config.get("env_prefix", ""))
        found = [(_variable(prefix, name, field), field) for name, field in settings.model_fields.items() if not field.exclude]
        parts += _settings(title, about, [_setting(variable, _default(field), field.description or "") for variable, field in found])
    keys = [(name, secret, variable) for name, entry in DRIVERS.items() for secret, variable in entry.secrets]
    about = "A worker reads these variables when it puts a service under load. What they hold reaches no recipe, result or log."
    parts += _settings(
        "Keys for services under load",
        about,
        [_setting(variable, None, f"the {secret} for a service of the type `{name}`") for name, secret, variable in keys],
    )
    about = "`fleetmark …` reads these variables. Options of the command line win over them."
    own = [(setting, variable) for setting, variable in variables() if setting.metadata["description"]]
    parts += _settings(
        "The command line", about, [_setting(variable, setting.default, setting.metadata["description"]) for setting, variable in own]
    )
    return "\n".join(parts)


def _settings(title: str, about: str, rows: list[str]) -> list[str]:
    return [f"## {title}\n\n{about}\n", "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows]) + "\n"]


def _variable(prefix: str, name: str, field: FieldInfo) -> str:
    """Return the name of a setting's variable. A variable of another program keeps its own name."""
    return field.validation_alias if isinstance(field.validation_alias, str) else prefix + name.upper()


def _default(field: FieldInfo) -> Any:
    default = field.get_default(call_default_factory=True, validated_data={})
    return None if default is PydanticUndefined or isinstance(default, SecretStr) else default


def _setting(variable: str, default: Any, description: str) -> str:
    shown = "unset" if default is None or default in ("", {}) else f"`{default}`"
    return f"| `{variable}` | {shown} | {description} |".replace("  ", " ")


def commands() -> str:
    """Return docs/reference/cli.md: each command with its arguments, options and examples."""
    root: Any = typer.main.get_command(app)
    parts = [MADE_BY, "# Command line\n", f"{root.help}\n\n{root.epilog}\n"]
    parts.append("Every command that shows data takes `--json`. Results go to standard output; messages go to standard error.\n")
    own: Any = typer.main.get_command(worker_app)
    for name, command in root.commands.items():
        parts += _command(f"fleetmark {name}", command)
        if name == "worker":
            parts += [part for inner in own.commands.values() for part in _command(f"fleetmark worker {inner.name}", inner)]
    return "\n".join(parts)


def _command(name: str, command: Any) -> list[str]:
    if hasattr(command, "commands"):  # it is a group of commands
        inner = [part for one in command.commands.values() for part in _command(f"{name} {one.name}", one)]
        return [f"## `{name}`\n\n{_help(inspect.cleandoc(command.help or ''))}\n", *_options(command), *inner]
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    usage = " ".join([name, *(str(argument.metavar or argument.name.upper()) for argument in arguments)])
    parts = [f"## `{usage}`\n\n{_help(inspect.cleandoc(command.help or ''))}\n"]
    return parts + _options(command)


def _options(command: Any) -> list[str]:
    options = [parameter for parameter in command.params if parameter.param_type_name == "option" and not parameter.hidden]
    rows = ["| option | meaning |", "| --- | --- |"]
    rows += [f"| {', '.join(f'`{name}`' for name in option.opts)} | {_plain(option.help or '')} |" for option in options]
    return ["\n".join(rows) + "\n"] if options else []


def _plain(text: str) -> str:
    text = re.sub(r"(?<!\\)\[env", r"\[env", text)  # the worker's help is Markdown, in which brackets stand for themselves
    return Text.from_markup(text).plain.replace("|", "\\|")


def _help(text: str) -> str:
    """Return the docstring of a command as Markdown. The lines below `Examples:` become a code block."""
    prose, found, examples = re.split(r"\n(?=Examples?:\n)", text, maxsplit=1), "", ""
    if len(prose) == 2:
        found, examples = prose[0], "\n".join(line.strip() for line in prose[1].splitlines()[1:] if line.strip())
        return f"{found.strip()}\n\n```sh\n{examples}\n```"
    return text


RECIPE_ABOUT = """A recipe is YAML, or JSON of the same shape. Submit it with `fleetmark run FILE`, or as the body of `POST /api/campaigns`.
`fleetmark validate FILE` checks the whole recipe and reports every mistake at once. An unknown key is an error, and the message names the
nearest known key. Examples are in `recipes/`.

```yaml
name: tiny-yolov2 by batch
model: tiny-yolov2               # or ./mine.onnx, or https://…/model.onnx
on: [cpu.onnx, gpu.cuda.onnx]
devices: every                   # each device measures every combination
inferences: 200
repeats: 6                       # or stop: {precision: 0.02}
sweep:
  options.batch_size: [1, 8, 32] # one job for each value; several lists make one job for each combination
```

**Paths.** `./mine.onnx`, `sub/mine.onnx` and `mine.onnx` are files in the recipe's own folder, wherever the command runs. Fleetmark does
not take a file that is only in the current folder; the error then names the whole path, which you can write instead. In a `file://` URL
write `?` as `%3F` and `#` as `%23`.

**Devices.** A recipe that compares (it has a sweep or several models, so more than one combination) goes to one device unless it names
others. Otherwise a difference between two rows could come from their devices. The first device that is free takes all jobs (`one`), also
those of all compute units in `on`, if a device has them all. If none has, as few devices as possible share them, and a warning says so. The
choice is made once and stays: while the device is away, the jobs wait for it until the queue timeout, and say so. To use another device,
stop the campaign and run its recipe again with `devices: any` or a name. The jobs of such a recipe are sent in a random order, so that a
device that becomes slower meanwhile does not favour one end of a sweep ([why](../decisions/0029-one-device.md)). `run.json` holds the order
and its seed.

```yaml
model: squeezenet
on: [cpu.onnx]
sweep: {options.threads: [1, 2, 4]}   # three jobs on one device; `devices: any` would spread them over all
```

`any` (the default for a single combination) makes one job for each compute unit, and any worker that can run it takes it. `every` makes one
job for each registered worker that has the capability and meets `requires`; workers that have left are not counted. If there is no such worker,
the recipe is refused. While Redis does not answer, nobody knows the workers, and a recipe with `every` is answered with 503. A list makes
one job for each of its entries. An entry is the id of a worker or the name of a device. A name that no registered device has is refused
with the nearest name, unless the recipe says `wait_for_device: true` (or `fleetmark run --wait-for-device`): then the job waits for the
device. A name that several workers have is refused, and the error lists their ids.

**Turns.** The repeats of jobs that are compared on one device (`one`, a name, `every`) take turns: a round measures one repeat of each job,
and each round has a random order of its own. So heat, or other work on the device, affects all of them alike. Up to eight jobs take turns;
more jobs are spread evenly over several such blocks, one after the other. The time limit of a job (`timeout_s`) runs only in its own turns, and
a job with a stop rule leaves when it is done. All results of a block come near its end, and an urgent job for the same device waits until the
block is over. With `any`, jobs are measured one after the other ([why](../decisions/0038-repeats-take-turns.md)).

**Models.** Each entry of `models` gives one job or several, also where two entries name the same file. The `options` of an entry are added
to those of the recipe, key by key: an entry's `threads` replaces the recipe's `threads`, and the recipe's `batch_size` stays. `shapes`,
`dims` and `values` are merged name by name.

**Sweeps.** Each path leads to one key of the recipe. `models.1.options.threads` multiplies the jobs of that one model only (the first model
is `models.0`). A name with dots in it, as in `options.shapes.input.1`, needs no quotes. A sweep is refused if a value
would be lost: an entry sets the same key itself; one of two swept paths leads into the other; a swept mapping would drop a key that the
recipe states in its place (`options: {dims: {batch: 8}}` beside `options.dims: [{sequence: 16}]`); or `repeats` is swept while a stop rule
decides them. It is also refused if two of its jobs would be equal.

**Text.** YAML or JSON, in UTF-8. A key that a mapping has twice is refused, and so are YAML's aliases (`*name`).

**Stop rule.** `stop: {precision: 0.02}` repeats a job until the 95 % interval of its median reaches at most 2 % to each side. The first
five repeats say how many repeats this takes. `max_repeats` and `budget_s` end the job earlier; three repeats run even when the budget is
spent. The result then says how near the job came to the precision ([why two stages](../decisions/0016-two-stages-for-a-precision.md)).

**Content.** A model is its file together with the files that hold its weights. `run.json`, the report and the CSV show one SHA-256 for all
of them. For a model of one file it is the SHA-256 of that file. Otherwise it is the SHA-256 of this text: the line `fleetmark-model 1`, a
line with SHA-256 and size of the model file, and a line with SHA-256, size and name of each other file, ordered by name (each line ends
with a line feed). The `sha256`, `size` and `companions` of an entry are checked before anything is measured, wherever the model comes from.
"""
RECIPE_PARTS: list[tuple[str, type[BaseModel]]] = [
    ("The recipe", Recipe),
    ("`models`, an entry", ModelEntry),
    ("`options`", EngineOptions),
    ("`warmup`", Warmup),
    ("`stop`", StopRule),
    ("`requires`", Requirements),
    ("`retries`", Retries),
    ("`prompts`", PromptsSection),
    ("`task`", TaskSection),
    ("`decoding`", DecodingSection),
    ("`hardware`", HardwareSection),
    ("`service`", ServiceSection),
    *((f"`service.settings` of {name}", kind.settings) for name, kind in SERVICES.items() if kind.settings.model_fields),
    ("`service.settings.tuning` of postgres", Tuning),
    ("`client`", ClientSection),
    *((f"`client.settings` of {name}", kind.client) for name, kind in SERVICES.items()),
    ("`load`", LoadSection),
    ("`benchmarks`", BenchmarksSection),
    ("`slo`", Slo),
    ("`configuration`", ConfigurationSection),
    ("`monitoring`", MonitoringSection),
]


INPUTS_ABOUT = """Fleetmark makes values for every input that the model asks for. The recipe decides first, then the model's graph, then the
rules below. The result records for each input what was used: its bound shape, how it was filled, and a SHA-256 of its values. The values
are the same in all repeats.

```yaml
options:
  batch_size: 8
  dims: {sequence: 128, past_sequence_length: 0}   # by symbol, for all inputs at once
  shapes: {image: [8, 3, 224, 224]}                # a whole input, where its dimensions have no names
  values:
    use_cache_branch: false                        # a constant, for every element
    input_ids: [0, 30521]                          # a range, both ends included
    city: [Paris, Rome]                            # a list of texts: one is drawn for each element
    anchors: {array: [[10, 13], [16, 30]]}         # every element
    mask: mask.npz                                 # a file: the array of the input's name, or its only array
```

**Sizes**

- A symbol has one size in all inputs. Two options that disagree are refused.
- `batch_size` sets the batch dimension. This is the symbol with the word `batch` in its name, or `N`, `B`, `bs` or `nb` where only free
  dimensions stand before it. If there is none, it is the only symbol that leads the inputs, unless its name says that it is a sequence.
  Leading dimensions without a name are taken as one dimension. If it is not clear which dimension is the batch, as with texts of
  `batch` beside images of `N`, the job fails and says what to write in `dims`. If the batch is fixed in the model, only the fixed size is accepted.
- A dimension such as `past_sequence_length + sequence_length` is calculated from its parts (`+ - * /`, rounded down, and brackets). A
  `total_sequence_length` without a size of its own is the sum of the past length and the present length.
- A free dimension without a given size is 1, also a past length: `dims: {past_sequence_length: 0}` measures the first step of a decoder.
  The result lists such dimensions as assumed, and warns where an image or a sequence became 1.
- An input whose rank the model leaves open needs `shapes`.

**Values that the recipe leaves open.** Fleetmark follows each input through casts, offsets, branches, loops and functions to the operators
that limit it.

| the input | is filled with |
| --- | --- |
| whole numbers that index a table (`Gather`, embeddings, `Scatter…`, …) | numbers drawn from all rows of the table; each column has its own table |
| whole numbers that are not known to be an index | numbers drawn from 0 to 99; for images of 8 bits, from 0 to 255 (`int8`: to 127) |
| floats | numbers drawn from 0 to 1; whole numbers where they become an index or a category |
| `…mask…` | all 1 |
| `…token_type…`, `…segment…` | all 0 |
| `…position…` | numbers that count up, at most to the last row of their table |
| the lengths of an LSTM, GRU, RNN or `ReverseSequence`; `…length…` | the length of the sequence |
| texts | texts drawn from the categories that the graph knows (`OneHotEncoder`, `LabelEncoder`, …), else `text` |
| booleans | drawn; a single boolean is `false` |

Inputs that steer the model are never drawn. If you give no value, they are filled by rule, and the result carries a warning that names the
input:

| the input | rule |
| --- | --- |
| chooses the branch of an `If` | `false`; a number that is compared with a constant is that constant |
| says how often a `Loop` runs, or limits a `Range` | 1 |
| `k` of a `TopK` | the number of values, at most 100; 1 where that is not known |
| boxes kept, overlap and score of a `NonMaxSuppression` | 100, 0.5 and 0 |
| shape of a `Reshape` | the shape that is there, if the rank is the same, else `[-1, 1, …]` |
| shape of an `Expand`, repeats of a `Tile`, sizes of a `Resize` | 1, or the size that is there |
| begin, end, axes and steps of a `Slice`; a `Pad` | the whole input; nothing is added |
| a search within the graph (`BeamSearch`, `GreedySearch`, `Sampling`) | 16 new tokens, one beam, penalties of 1 |

A given value that the graph cannot take (an index beyond its table, a length beyond its sequence) is refused, and the error states the
range. Numbers of less than 8 bits, sequences, maps and optional values cannot be filled. A list in a recipe holds at most 1 000 elements, and an `array` at most 65 536
in all; put more into a file. `fleetmark run` looks for such a file in the recipe's folder, then in the model's folder, and uploads it
together with a model of this machine. For `file://` and URLs the file must lie beside the model, under the path that the recipe gives.
"""


def recipes() -> str:
    """Return docs/reference/recipes.md: every key of a recipe."""
    parts = [MADE_BY, "# Recipes\n", RECIPE_ABOUT]
    for title, model in RECIPE_PARTS:
        rows = ["| key | default | meaning | example |", "| --- | --- | --- | --- |"]
        rows += [_key(model, name, field) for name, field in model.model_fields.items()]
        parts.append(f"## {title}\n\n" + "\n".join(rows) + "\n")
        if model is EngineOptions:
            parts.append(_options_of_engines())
            parts.append(f"### The inputs of a model\n\n{INPUTS_ABOUT}")
    capabilities = [f"| `{name}` | {'' if label == name else f'`{label}`'} |" for name, label in LABELS.items()]
    about = "A name on the left is one queue. A label on the right stands for all of its capabilities. The queue with the least work gets the job."
    about += "\nThese are the compute units that this version can run; a recipe that asks for another is refused."
    rows = ["| capability | label |", "| --- | --- |", *capabilities]
    parts.append(f"## `on`: compute units\n\n{about}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _options_of_engines() -> str:
    """Return which options each engine knows, as the registry of engines says it."""
    names: dict[frozenset[str], list[str]] = {}
    for capability in (name for name in LABELS if name in ENGINES):
        names.setdefault(ENGINES[capability].options, []).append(f"`{capability}`")
    rows = [f"| {', '.join(capabilities)} | {', '.join(f'`{name}`' for name in sorted(known))} |" for known, capabilities in names.items()]
    inputs = ", ".join(f"`{name}`" for name in sorted(OF_INPUTS))
    about = f"An option that an engine does not know is refused, and never ignored. Every engine knows the options of the inputs: {inputs}."
    return f"### Which engine knows which option\n\n{about}\n\n| capability | options |\n| --- | --- |\n" + "\n".join(rows) + "\n"


def _key(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    if field.is_required():
        shown = "required"
    elif default is None or isinstance(default, BaseModel) or default in ("", {}, ()):
        shown = ""
    else:
        shown = f"`{default}`"
    return f"| `{name}` | {shown} | {field.description or ''} | `{shown_example(model, name)}` |"


API_ABOUT = """The base of every path is the orchestrator's address, such as `http://localhost:5000`. Bodies, answers and errors are at
`/docs`, and as OpenAPI at `/openapi.json`. Generators make a whole client of that file, with the names of this table:

```sh
openapi-python-client generate --url http://localhost:5000/openapi.json
npx openapi-typescript http://localhost:5000/openapi.json -o fleetmark.ts
```

Lists are pages: `limit` and `cursor` in, `next_cursor` out, and `total` where a list says how long it is. An error has one shape: `error`,
`detail` (what happened, and what to do) and, for a body that is not valid, `fields`. [Roles](roles.md) says who may make which call.
"""


def calls() -> str:
    """Return docs/reference/api.md: each call of the API with its name and what it does."""
    rows = ["| call | name | what it does |", "| --- | --- | --- |"]
    for router in (*ROUTERS, metrics):
        for route in router.router.routes:
            if isinstance(route, APIRoute):
                said = inspect.cleandoc(route.endpoint.__doc__ or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
                path = route.path.replace(":path}", "}")
                rows += [f"| `{method} {path}` | `{route.name}` | {said} |" for method in sorted(route.methods or ())]
    return "\n".join([MADE_BY, "# REST calls\n", API_ABOUT, *rows]) + "\n"


FIGURES_ABOUT = """A result holds figures. Each has a name, a unit, and a direction that is better. These are the figures of each kind of work.

`GET /api/figures?name=…` lists a figure of many jobs, and `GET /api/campaigns/{id}/comparison?metric=…` shows it as a matrix. `fleetmark
compare --metric …` takes those with *yes* in the last column: each repeat has a value of them, which a test needs
([how it is decided](../how-to/compare.md)).
"""
SAMPLED_BESIDE = "Beside every kind of work"


def figures() -> str:
    """Return docs/reference/figures.md: the figures of each kind of work."""
    parts = [MADE_BY, "# Figures\n", FIGURES_ABOUT]
    kinds = [(f"The kind `{name}`", sheet_of(name).figures, sheet_of(name).compared) for name in KINDS if name in SHEETS and name != "fake"]
    for title, known, compared in (*kinds, (SAMPLED_BESIDE, telemetry.FIGURES, SAMPLED)):
        rows = [
            f"| `{name}` | {one.unit} | {one.better} | {one.meaning} | {'yes' if name in compared else ''} |" for name, one in known.items()
        ]
        parts.append(
            "\n".join([f"## {title}\n", "| figure | unit | better | meaning | compared |", "| --- | --- | --- | --- | --- |", *rows]) + "\n"
        )
    return "\n".join(parts)


def roles() -> str:
    """Return docs/reference/roles.md: each call of the API, and the roles that may make it."""
    parts = [MADE_BY, "# Roles\n"]
    parts.append(
        "This table says which role may make which call, once there is a token. [SECURITY.md](../../SECURITY.md) explains the roles.\n"
    )
    rows = [f"| call | {' | '.join(Role)} |", f"| --- |{' :-: |' * len(Role)}"]
    for call, allowed in MAY_CALL.items():
        marks = ["anyone" if call.split()[1] in OPEN else "yes" if role in allowed else "" for role in Role]
        rows.append(f"| `{call}` | {' | '.join(marks)} |".replace("  ", " "))
    parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def decisions() -> str:
    """Return docs/decisions/README.md: the title of each decision, as a link."""
    parts = [MADE_BY, "# Decisions\n", "Each page says what was decided, and why. A number that is missing was not used.\n"]
    files = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    rows = [f"- [{file.read_text().splitlines()[0].lstrip('# ')}]({file.name})" for file in files]
    return "\n".join([*parts, *rows]) + "\n"


def users() -> str:
    """Return deploy/redis/users.acl: the fixed logins, with placeholders for the passwords, which compose.yaml replaces."""
    fixed = [(ORCHESTRATOR, "REDIS_PASSWORD", orchestrator_rules(0)), (FLOWER, "FLOWER_REDIS_PASSWORD", flower_rules(0))]
    lines = [setuser(name, f">{password}", rules) for name, password, rules in fixed]
    return "".join(f"user {' '.join(line)}\n" for line in [["default", "off"], *lines])


PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/configuration.md": configuration,
    "docs/reference/cli.md": commands,
    "docs/reference/recipes.md": recipes,
    "docs/reference/roles.md": roles,
    "docs/reference/api.md": calls,
    "docs/reference/figures.md": figures,
    "docs/decisions/README.md": decisions,
    "deploy/redis/users.acl": users,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the generated files, or check that they are current.")
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = [name for name, make in PAGES.items() if not (ROOT / name).exists() or (ROOT / name).read_text() != make()]
    for name in stale:
        if check:
            print(f"{name} does not match the code: run `make docs`")
        else:
            (ROOT / name).write_text(PAGES[name]())
            print(f"wrote {name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
