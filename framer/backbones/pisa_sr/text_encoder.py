"""Embeddings of prompts for the U-Net's cross-attention."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from framer.backbones.loading import UNREADABLE
from framer.errors import UserError, one_line


class ClipText(nn.Module):
    """The frozen text encoder of a published pipeline."""

    def __init__(self, folder: Path):
        """Read `tokenizer` and `text_encoder` of a diffusers pipeline.

        Raises:
            UserError: they are missing or cannot be read.
        """
        super().__init__()
        try:
            self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
            self.encoder = CLIPTextModel.from_pretrained(
                folder / "text_encoder", local_files_only=True, use_safetensors=True
            )
        except UNREADABLE as error:
            reason = one_line(error)
            raise UserError(
                f"its tokenizer and text_encoder cannot be read ({reason})", path=folder, code="unreadable"
            ) from None
        self.encoder.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, prompts: Sequence[str]) -> Tensor:
        """Embed n prompts, padded or cut to the encoder's number of tokens: (n, tokens, width)."""
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self.encoder.config.max_position_embeddings,
            return_tensors="pt",
        )
        embedded: Tensor = self.encoder(tokens.input_ids.to(self.encoder.device))[0]
        return embedded
