from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import InvalidInput
from shared.orchestrators import orchestrator_address
from worker.settings import WorkerSettings, load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in WorkerSettings.model_fields:
        monkeypatch.delenv(f"FLEETMARK_{field.upper()}", raising=False)
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_environment_is_read_under_its_documented_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETMARK_HOST", "http://orchestrator:5000")
    monkeypatch.setenv("FLEETMARK_HEARTBEAT_S", "2.5")
    monkeypatch.setenv("FLEETMARK_WORKER_PORT", "9000")
    monkeypatch.setenv("FLEETMARK_WORKER_LABELS", "site=lab, rack=3")
    monkeypatch.setenv("FLEETMARK_WORKER_PRICE_PER_HOUR", "0.25")
    settings = load_settings()
    assert settings.host == "http://orchestrator:5000"
    assert settings.heartbeat_s == 2.5
    assert settings.worker_port == 9000
    assert settings.worker_labels == {"site": "lab", "rack": "3"}
    assert settings.worker_price_per_hour == 0.25


def test_a_worker_fetches_from_public_addresses_and_the_public_hub_unless_it_is_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert (settings.worker_allow_private_urls, settings.hf_endpoint, settings.hf_token) == (False, None, None)
    monkeypatch.setenv("FLEETMARK_WORKER_ALLOW_PRIVATE_URLS", "true")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    settings = load_settings()
    assert (settings.worker_allow_private_urls, settings.hf_endpoint) == (True, "https://hub.example")
    assert "hf_secret" not in repr(settings)
    monkeypatch.setenv("HF_ENDPOINT", "hub.example")
    with pytest.raises(InvalidInput, match=r"HF_ENDPOINT='hub\.example': a hub's address starts with https://"):
        load_settings()
    monkeypatch.setenv("HF_ENDPOINT", "")
    assert load_settings().hf_endpoint is None


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETMARK_WORKER_NAME", "from-environment")
    assert load_settings(worker_name="from-command-line").device_name == "from-command-line"
    assert load_settings(worker_name=None).device_name == "from-environment"


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "REDIS_URL", "TOKEN", "WORKER_STATE_DIR", "WORKER_PRICE_PER_HOUR"):
        monkeypatch.setenv(f"FLEETMARK_{name}", "")
    settings = load_settings()
    assert (settings.host, settings.redis_url, settings.token, settings.worker_price_per_hour) == (None, None, None, None)


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("orchestrator", "http://orchestrator:5000"),
        ("10.0.0.7:5001", "http://10.0.0.7:5001"),
        ("http://orchestrator:5000/", "http://orchestrator:5000"),
        ("http://orchestrator:5000/api", "http://orchestrator:5000"),
        ("https://bench.example.org", "https://bench.example.org"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("https://example.org/fleet/api/", "https://example.org/fleet"),
    ],
)
def test_an_orchestrator_may_be_written_as_people_write_it(typed: str, address: str) -> None:
    assert orchestrator_address(typed) == address


@pytest.mark.parametrize("typed", ["ftp://orchestrator", "http://", "http://name:port", "://", "redis://localhost"])
def test_what_is_no_address_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(InvalidInput, match="http://name:5000"):
        load_settings(host=typed)


@pytest.mark.parametrize(
    "typed", ["http://me:hunter2@lab:5000", "me:hunter2@lab", "https://hunter2@lab", "http://me:hunter2@[::1]:5000/api"]
)
def test_a_login_in_the_address_of_an_orchestrator_is_refused_and_not_shown(typed: str) -> None:
    with pytest.raises(InvalidInput, match=r"\*\*\*@.* has a login in it.*FLEETMARK_TOKEN") as caught:
        load_settings(host=typed)
    assert "hunter2" not in caught.value.detail
    with pytest.raises(ValueError, match="has a login in it") as refused:  # the command line of a client reads it in this way
        orchestrator_address(typed)
    assert "hunter2" not in str(refused.value)


def test_every_wrong_setting_is_named_with_its_source_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETMARK_HEARTBEAT_S", "often")
    with pytest.raises(InvalidInput) as caught:
        load_settings(worker_port=70000)
    sources = [field.path for field in caught.value.fields]
    assert sources == ["FLEETMARK_HEARTBEAT_S='often'", "--port=70000"]


@pytest.mark.parametrize("price", ["inf", "nan", "-0.1", "1e999"])
def test_a_price_that_is_no_amount_of_money_is_refused(monkeypatch: pytest.MonkeyPatch, price: str) -> None:
    monkeypatch.setenv("FLEETMARK_WORKER_PRICE_PER_HOUR", price)
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert [field.path for field in caught.value.fields] == [f"FLEETMARK_WORKER_PRICE_PER_HOUR={price!r}"]


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(InvalidInput) as caught:
        load_settings(redis_url="http://:hunter2@broker")
    assert "hunter2" not in caught.value.detail
    assert "redis://" in caught.value.detail


def test_a_timeout_of_less_than_two_heartbeats_is_refused() -> None:
    with pytest.raises(InvalidInput, match="less than two beats"):
        load_settings(heartbeat_s=20.0, heartbeat_timeout_s=30.0)


def test_folders_follow_the_xdg_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert load_settings().state_dir == tmp_path / ".local/state/fleetmark"
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    settings = load_settings()
    assert settings.state_dir == Path("/var/state/fleetmark")
    assert settings.spool_dir == Path("/var/state/fleetmark/spool")
    assert settings.cache_dir == tmp_path / ".cache/fleetmark"
    assert load_settings(worker_state_dir="/srv/one").spool_dir == Path("/srv/one/spool")


def test_every_setting_is_described() -> None:
    ours = {name: field for name, field in WorkerSettings.model_fields.items() if not field.exclude}
    assert [name for name, field in ours.items() if not field.description] == []


def test_the_token_may_be_in_a_file_that_the_command_line_or_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")

    def token(**given: object) -> str:
        found = load_settings(**given).token
        assert found is not None
        return found.get_secret_value()

    assert token(token_file=file) == "from-file"
    monkeypatch.setenv("FLEETMARK_TOKEN_FILE", str(file))
    assert token() == "from-file"
    monkeypatch.setenv("FLEETMARK_TOKEN", "given")
    assert token() == "given"
    assert token(token_file=file) == "from-file"
    assert token(token_file=file, token="typed") == "typed"
    with pytest.raises(InvalidInput, match=r"--token-file: the token file .* cannot be read"):
        load_settings(token_file=tmp_path / "none")
    monkeypatch.delenv("FLEETMARK_TOKEN")
    monkeypatch.setenv("FLEETMARK_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match=r"the token file .* cannot be read"):
        load_settings()


def test_a_token_that_cannot_be_sent_is_refused_by_its_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETMARK_TOKEN", "se\ncret")
    with pytest.raises(InvalidInput, match="FLEETMARK_TOKEN: a token is printable ASCII") as refused:
        load_settings()
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("::1", "http://[::1]:5000"),
        ("[::1]", "http://[::1]:5000"),
        ("fd00::7", "http://[fd00::7]:5000"),
        ("[fd00::7]:80", "http://[fd00::7]:80"),
        ("::", "http://[::1]:5000"),
        ("http://[::]:5050", "http://[::1]:5050"),
        ("0.0.0.0", "http://127.0.0.1:5000"),
        ("0.0.0.0:5050", "http://127.0.0.1:5050"),
        ("http://0.0.0.0:5050/api/", "http://127.0.0.1:5050"),
        ("lab", "http://lab:5000"),
        ("10.0.0.7:80", "http://10.0.0.7:80"),
    ],
)
def test_an_orchestrator_is_found_by_every_way_to_write_an_address(typed: str, address: str) -> None:
    assert orchestrator_address(typed) == address


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("site=lab,site=attic", "the label 'site' is given twice; keep one of the two"),
        ('{"site": "lab", "site": "attic"}', "the key 'site' twice; keep one of the two"),
        ('{"rack": 3}', "the value of the label 'rack' is 3, which is no text; write it in quotes"),
        ('{"rack": null}', "the value of the label 'rack' is None, which is no text"),
        ('{"rack": ', "EOF while parsing"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(labels: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETMARK_WORKER_LABELS", labels)
    with pytest.raises(InvalidInput) as refused:
        load_settings()
    assert "FLEETMARK_WORKER_LABELS" in refused.value.detail
    assert said in refused.value.detail


@pytest.mark.parametrize("text", ["1,50", "1_50", "€2", "-1", "1e400", "nan", "2/h"])
@pytest.mark.parametrize("name", ["FLEETMARK_WORKER_PRICE_PER_HOUR", "FLEETMARK_WORKER_LABELS"])
def test_a_price_that_is_none_is_refused_with_what_to_write(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, text if "LABELS" not in name else json.dumps({"price_per_hour": text}))
    with pytest.raises(InvalidInput, match=r"is no price: write a number of 0 or more, such as 1\.50"):
        load_settings()
