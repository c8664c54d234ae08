"""Compares the hash of a model that consists of several files with a hash computed by hand."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from shared.content import Content, content_hash
from shared.inputs import Companion, ModelRef

GRAPH, ONE, OTHER = Content("a" * 64, 10), Content("b" * 64, 20), Content("c" * 64, 20)


def test_a_model_of_one_file_has_the_hash_of_that_file() -> None:
    assert content_hash(GRAPH, {}) == "a" * 64


def test_the_text_that_is_hashed_is_the_one_that_is_described() -> None:
    text = f"fleetmark-model 1\n{'a' * 64} 10\n{'b' * 64} 20 sub/w.bin\n{'c' * 64} 20 w.bin\n"
    assert content_hash(GRAPH, {"w.bin": OTHER, "./sub/w.bin": ONE}) == hashlib.sha256(text.encode()).hexdigest()


FILES = st.dictionaries(
    st.sampled_from(["a", "b", "é", "z/a"]), st.builds(Content, st.sampled_from(["a" * 64, "b" * 64]), st.integers(0, 2)), max_size=3
)


@given(FILES, FILES)
def test_two_models_have_one_hash_only_if_they_are_the_same_files(one: dict[str, Content], other: dict[str, Content]) -> None:
    assert (content_hash(GRAPH, one) == content_hash(GRAPH, other)) is (one == other)
    assert content_hash(GRAPH, dict(reversed(one.items()))) == content_hash(GRAPH, one)


def test_an_upload_knows_its_hash_before_any_device_has_it() -> None:
    weights = Companion(name="./w.bin", sha256="b" * 64, size=20)
    values = Companion(name="mask.npz", sha256="c" * 64, size=20)  # a file with values for an input is not a part of the model
    ref = ModelRef(source=f"sha256:{'a' * 64}", name="m.onnx", sha256="a" * 64, size=10, companions=(weights, values))
    assert ref.content_sha256 == content_hash(GRAPH, {"w.bin": ONE})
    # the weights are not known
    assert ModelRef(source="https://models.example/m.onnx", name="m", sha256="a" * 64, size=10).content_sha256 is None
