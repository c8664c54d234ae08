"""Makes a tiny language model on the spot: the architecture of Llama with random weights, and a tokenizer trained on a few texts.

    python -m tools.tiny_llama FOLDER        in an environment with torch, transformers, tokenizers and safetensors

The same version of the libraries makes the same files. The `config.json` says that the weights are random (`random_weights`), and so does
each result.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import shared

SIZES = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4}
VOCABULARY = 2_000
LONGEST = 2_048
ARTICLES = Path(shared.__file__).parent / "tasks" / "articles.jsonl"  # so that most token ids stand for a word or a part of one
SENTENCES = (
    "A benchmark measures how long a piece of work takes on a device.",
    "The first token of an answer comes after the whole prompt was read.",
    "Each further token needs all weights of the model once.",
    "A result without its noise says little about the next run.",
)


def make(folder: Path, **sizes: Any) -> Path:
    """Write a snapshot into a folder, and return it."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106 - a word of the tokenizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    articles = [json.loads(line)["document"] for line in ARTICLES.read_text(encoding="utf-8").splitlines()]
    tokenizer.train_from_iterator([*SENTENCES, *articles], trainer)
    words = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **words).save_pretrained(folder)
    torch.manual_seed(0)
    known = {"vocab_size": VOCABULARY, "max_position_embeddings": LONGEST, "bos_token_id": 1, "eos_token_id": 2, "random_weights": True}
    config = LlamaConfig(**{**known, **SIZES, **sizes})
    LlamaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    return folder


def try_out(folder: Path) -> str:
    """Read the model as a program would that runs it, and return a few words that it writes."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt = tokenizer(SENTENCES[0], return_tensors="pt")
    answer = model.generate(prompt["input_ids"], attention_mask=prompt["attention_mask"], max_new_tokens=6, do_sample=False, pad_token_id=0)
    return str(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :]))


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = make(Path(sys.argv[1]))
    written = try_out(folder)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    print(f"{folder} has a tiny Llama with random weights ({size:.1f} MB). It writes: {written!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
