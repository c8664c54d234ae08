"""Says what a language model needs of a device's memory, and what would fit, when a device had too little."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import ModelInvalid
from worker.engines.torch_devices import MB
from worker.engines.torch_errors import words_of


@dataclass(frozen=True)
class Need:
    """Holds what a call needs: the weights, and the keys and values of each token of each sequence.

    Attributes:
        kv_bytes_per_token: 0 if it is not known.
        tokens: The prompt and the answer of one sequence together.
        room_bytes: The memory of the device. None if it is not known.
    """

    weights_bytes: int
    kv_bytes_per_token: int = 0
    batch: int = 1
    tokens: int = 0
    room_bytes: int | None = None

    @property
    def sequence_bytes(self) -> int:
        return self.kv_bytes_per_token * self.tokens

    def fits(self) -> int | None:
        """Return how many sequences fit beside the weights at most. Scratch memory comes on top, so fewer may fit. None if unknown."""
        if self.room_bytes is None or not self.sequence_bytes:
            return None
        return max(0, (self.room_bytes - self.weights_bytes) // self.sequence_bytes)

    def in_words(self) -> str:
        said = f"its weights take {self.weights_bytes / MB:.0f} MB"
        if self.sequence_bytes:
            said += (
                f", and the keys and values of {self.batch} sequences of {self.tokens} tokens "
                f"{self.batch * self.sequence_bytes / MB:.0f} MB ({self.sequence_bytes / MB:.1f} MB each)"
            )
        return said if self.room_bytes is None else f"{said}, of {self.room_bytes / MB:.0f} MB on the device"


def no_room(name: str, device: str, need: Need, error: Exception) -> ModelInvalid:
    """Return the error for a call that did not fit into the memory of a device."""
    fits = need.fits()
    if fits is None:
        mend = "take a smaller options.batch_size, shorter prompts and answers, or a smaller options.dtype"
    elif fits >= need.batch:
        mend = "scratch memory takes the rest, or another program does: take a smaller options.batch_size"
    elif fits:
        mend = f"at most {fits} such sequences fit beside the weights: take options.batch_size {fits} or smaller"
    else:
        mend = "not one such sequence fits beside the weights: take shorter prompts and answers, a smaller options.dtype or a smaller model"
    return ModelInvalid(
        f"{name} does not fit into the memory of {device} on this device: {need.in_words()}; {mend}. torch says: {words_of(str(error))}"
    )
