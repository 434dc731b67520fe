"""Embeddings of prompts, kept where every step needs them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from framer.backbones.adapted_network import widened
from framer.backbones.pisa_sr.losses import NEGATIVE_PROMPT
from framer.backbones.random import generator


class Prompts:
    """Embeddings by the text encoder of a published pipeline, or random ones that depend on the prompt alone.

    Attributes:
        kept: embeddings that every step needs, by prompt, (1, tokens, width).
    """

    def __init__(self, folder: Path | None, empty: Tensor | None):
        """Read nothing yet.

        Args:
            folder: the published pipeline; None for random embeddings.
            empty: embedding of the empty prompt, (1, tokens, width); required without `folder`.
        """
        self.folder = folder
        self.kept: dict[str, Tensor] = {} if empty is None else {"": empty}
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the text encoder."""
        self.device, self.dtype = device, dtype
        if "_encoder" in self.__dict__:
            self._encoder.to(device, dtype)

    def get(self, prompts: Sequence[str]) -> Tensor:
        """Embed n prompts: (n, tokens, width), float32 or wider."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.kept]
        encoded = dict(zip(new, self._encode(new).split(1), strict=True)) if new else {}
        self.kept |= {prompt: encoded[prompt] for prompt in ("", NEGATIVE_PROMPT) if prompt in encoded}
        known = self.kept | encoded
        return torch.cat([known[prompt].to(self.device, widened(self.dtype)) for prompt in prompts])

    def _encode(self, prompts: Sequence[str]) -> Tensor:
        if self.folder:
            encoded: Tensor = self._encoder(prompts).float()
            return encoded
        shape = self.kept[""].shape[1:]
        return torch.stack([torch.randn(shape, generator=generator(0, "prompt", prompt)) for prompt in prompts])

    @cached_property
    def _encoder(self) -> nn.Module:
        """The text encoder of the pipeline, read when a prompt first needs it."""
        # transformers takes seconds to import.
        from framer.backbones.pisa_sr.text_encoder import ClipText

        assert self.folder is not None
        return ClipText(self.folder).to(self.device, self.dtype)
