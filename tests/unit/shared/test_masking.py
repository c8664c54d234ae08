from __future__ import annotations

import secrets

import pytest

from shared.masking import content_without_logins, masked, without_credentials, without_logins

SECRET = "fleetmark_" + secrets.token_urlsafe(32)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("broker redis://:hunter2@host:6379/0 is away", "broker redis://***@host:6379/0 is away"),
        ("rediss://user:p%40ss@host", "rediss://***@host"),
        ("redis://:p@ss@host:6379/0 and a@b", "redis://***@host:6379/0 and a@b"),
        ("two: https://u:one@h/m.onnx http://v:two@i", "two: https://***@h/m.onnx http://***@i"),
        ('{"a": "redis://:pw@h", "b": "x@y"}', '{"a": "redis://***@h", "b": "x@y"}'),
        ("redis://host:6379/0 and http://host:5000/api", "redis://host:6379/0 and http://host:5000/api"),
        ("postgresql://postgres@host/db", "postgresql://***@host/db"),
        ("https://ghp_secret@host/m.onnx", "https://***@host/m.onnx"),  # many services use a token as the user name
        ("see 'https://user:pa'ss@host/m.onnx'", "see 'https://***@host/m.onnx'"),
        ('"https://user:pa"ss@host/m.onnx"', '"https://***@host/m.onnx"'),
        (r'"https://user:pa\"ss@host/m.onnx"', '"https://***@host/m.onnx"'),
        ("https://user:p/ss@host/m.onnx is away", "https://***@host/m.onnx is away"),
        (r"'https:\\\\user:ss@host'", "'https:\\\\\\\\***@host'"),
        ('{"a":"http://h:80","b":"x@y"}', '{"a":"http://h:80","b":"x@y"}'),
        ('{"a":"http://h","b":"x@y"}', '{"a":"http://h","b":"x@y"}'),
        ("http://[::1]:5000/a@2 and https://host:8443/a@2", "http://[::1]:5000/a@2 and https://host:8443/a@2"),
        ("hf://org/repo@main/m.onnx", "hf://org/repo@main/m.onnx"),
    ],
)
def test_a_login_in_an_address_is_not_shown(text: str, shown: str) -> None:
    assert masked(text) == without_logins(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("Illegal header value b'bearer abc\\n'", "Illegal header value b'bearer ***'"),
        # the secret differs in each run, so it must not be in the name of the test
        pytest.param(f"made {SECRET}, keep it", "made fleetmark_***, keep it", id="a secret"),
        ("send `Authorization: Bearer <token>` or `Bearer …`", "send `Authorization: Bearer <token>` or `Bearer …`"),
        (f"token-{'0' * 18} is only a name", f"token-{'0' * 18} is only a name"),
    ],
)
def test_a_token_is_not_shown(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_long_text_takes_no_longer_than_its_length_says() -> None:
    """A pattern that starts again at each place would take hours for these texts."""
    starts = [
        *("://a:" * 200_000 + "@", "@ " + "://a:b" * 200_000, "@ " + ":\\a:b" * 200_000),
        *("@ ://" + "a:" * 500_000, "@ ://" + '"' * 1_000_000, "@ " + "://a:b" + ":/" * 500_000),
    ]
    for long in ("a" * 1_000_000 + "@://", *starts, "bearer " * 100_000, "fleetmark_" * 100_000):
        assert len(masked(long)) > 0


def test_texts_inside_of_what_becomes_json_or_yaml_are_masked_before() -> None:
    content = {"models": {"https://user:pa'ss@host/m.onnx": 1}, "on": ["https://a@b", 3, None], "note": 'it says "http://u:pa"s@h"'}
    assert content_without_logins(content) == {
        "models": {"https://***@host/m.onnx": 1},
        "on": ["https://***@b", 3, None],
        "note": 'it says "http://***@h"',
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, "s3cret") for name in ("FLEETMARK_TOKEN", "FLEETMARK_TOKEN_FILE", "HF_TOKEN", "REDIS_PASSWORD", "OPENAI_API_KEY")],
        *[(name, "s3cret") for name in ("AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "PGPASSFILE", "MYSQL_PWD", "FLOWER_BASIC_AUTH", "DB_PASS")],
        *[(name, "/a/file") for name in ("GOOGLE_APPLICATION_CREDENTIALS", "SSH_AUTH_SOCK")],
        ("FLEETMARK_REDIS_URL", "redis://:s3cret@host:6379/0"),
        ("FLEETMARK_DATABASE_URL", "postgresql://user:s3cret@host/name"),
        ("HTTPS_PROXY", "http://me:s3cret@proxy:3128"),
        ("MINE", "fleetmark_" + "a" * 43),
        ("STORAGE", "AccountName=me;AccountKey=s3cret=="),
    ],
)
def test_a_variable_that_holds_a_credential_is_not_handed_on(name: str, value: str) -> None:
    assert without_credentials({name: value, "PATH": "/bin"}) == {"PATH": "/bin"}


def test_what_runtimes_read_is_handed_on() -> None:
    kept = {
        "LD_LIBRARY_PATH": "/usr/local/cuda/lib64:/opt/lib",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "CUDA_CACHE_PATH": "/tmp/cuda",
        "OMP_NUM_THREADS": "4",
        "KMP_AFFINITY": "granularity=fine,compact,1,0",
        "TOKENIZERS_PARALLELISM": "false",
        "XLA_FLAGS": "--xla_gpu_autotune_level=2",
        "MAX_NUM_BATCHED_TOKENS": "512",
        "PWD": "/home/me",
        "OLDPWD": "/home",
        "HTTP_PROXY": "http://proxy:3128",
        "FLEETMARK_REDIS_URL": "redis://127.0.0.1:6379/0",
    }
    assert without_credentials(kept) == kept
