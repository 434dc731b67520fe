"""Text of DiT4SR: embeddings of prompts by Stable Diffusion 3's three encoders, each prompt encoded once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from framer.backbones.loading import UNREADABLE
from framer.backbones.random import generator
from framer.errors import UserError, one_line

CLIP_TOKENS = 77
"""Tokens of the two CLIP encoders; those of T5 follow."""


@dataclass(frozen=True)
class Text:
    """Embedded prompts.

    Attributes:
        tokens: (B, M, joint_attention_dim).
        pooled: (B, pooled_projection_dim).
    """

    tokens: Tensor
    pooled: Tensor

    @classmethod
    def cat(cls, texts: Sequence["Text"]) -> "Text":
        """One batch of several."""
        return cls(torch.cat([text.tokens for text in texts]), torch.cat([text.pooled for text in texts]))

    def expand(self, size: int) -> "Text":
        """One prompt, `size` times."""
        return Text(self.tokens.expand(size, -1, -1), self.pooled.expand(size, -1))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Text":
        """On a device, in a dtype."""
        return Text(self.tokens.to(device, dtype), self.pooled.to(device, dtype))

    def equal(self, other: "Text") -> bool:
        """Whether both have equal embeddings."""
        return torch.equal(self.tokens, other.tokens) and torch.equal(self.pooled, other.pooled)


class TextEncoder(Protocol):
    """Prompts to embeddings."""

    def encode(self, prompts: Sequence[str], tokens: int) -> Text:
        """Embed prompts; `tokens` are those of T5, beside `CLIP_TOKENS`. On the CPU."""

    def free(self) -> None:
        """Free the memory; the next `encode` loads the encoders again."""


@dataclass(frozen=True)
class ConstantText:
    """A substitute for the encoders: zeros where there is no text, or random numbers for measurements.

    Attributes:
        tokens: M; None for the number of the encoders.
        width, pooled: channels of the two embeddings.
        scale: standard deviation of the numbers, which are a function of the prompt; 0 for zeros.
    """

    tokens: int | None
    width: int
    pooled: int
    scale: float = 0.0

    def encode(self, prompts: Sequence[str], tokens: int) -> Text:
        """See `TextEncoder`."""
        count = self.tokens or CLIP_TOKENS + tokens
        texts = []
        for prompt in prompts:
            numbers = generator(0, "text", prompt if self.scale else "")
            parts = (
                torch.randn(1, count, self.width, generator=numbers),
                torch.randn(1, self.pooled, generator=numbers),
            )
            texts.append(Text(*(part * self.scale for part in parts)))
        return Text.cat(texts)

    def free(self) -> None:
        """Do nothing."""


class PipelineText:
    """The text encoders of a Stable Diffusion 3 pipeline folder, loaded on first use.

    The arithmetic is that of diffusers' pipeline: the two CLIP encoders' features side by side, padded to T5's width,
    then T5's tokens; the pooled vectors side by side.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        self.folder, self.device, self.dtype = folder, device, dtype
        self._pipeline: Any = None

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], tokens: int) -> Text:
        """See `TextEncoder`.

        Raises:
            UserError: the folder has no text encoders that can be loaded.
        """
        if self._pipeline is None:
            self._pipeline = self._load()
        embedded, _, pooled, _ = self._pipeline.encode_prompt(
            list(prompts),
            None,
            None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=tokens,
        )
        return Text(embedded.cpu(), pooled.cpu())

    def free(self) -> None:
        """See `TextEncoder`."""
        if self._pipeline is not None:
            self._pipeline = None
            torch.cuda.empty_cache()

    def _load(self) -> Any:
        # Imported here: it takes seconds, and tiny configurations have no text.
        from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline

        try:
            pipeline = StableDiffusion3Pipeline.from_pretrained(
                self.folder, transformer=None, vae=None, scheduler=None, dtype=self.dtype
            )
        except UNREADABLE as error:
            raise UserError(
                f"its text encoders cannot be loaded ({one_line(error)})", path=self.folder, code="unreadable"
            ) from None
        return pipeline.to(self.device)


class PromptTable:
    """Embeddings by prompt, on the CPU; each prompt is encoded once.

    Args:
        encoder: encodes prompts that are not in the table.
        stored: looks up a prompt in a cache on disk; returns None if it is not there.
    """

    def __init__(self, encoder: TextEncoder, stored: Callable[[str, int], Text | None] = lambda prompt, tokens: None):
        self.encoder, self.stored = encoder, stored
        self._known: dict[tuple[str, int], Text] = {}

    def get(self, prompts: Sequence[str], tokens: int) -> Text:
        """Return embeddings of some prompts, (B, ...) on the CPU. The encoders stay loaded."""
        self.learn(prompts, tokens)
        return Text.cat([self._known[prompt, tokens] for prompt in prompts])

    def learn(self, prompts: Iterable[str], tokens: int) -> None:
        """Encode new prompts, one at a time: an embedding must not depend on its batch."""
        for prompt in dict.fromkeys(prompts):
            if (prompt, tokens) not in self._known:
                found = self.stored(prompt, tokens) or self.encoder.encode([prompt], tokens)
                self._known[prompt, tokens] = found

    def forget(self, but: int) -> None:
        """Drop the oldest embeddings except `but` of them; those of a training set would fill the memory."""
        while len(self._known) > but:
            del self._known[next(iter(self._known))]
