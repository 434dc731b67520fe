"""The blocks of DiT4SR (ICCV 2025): SD3's joint transformer block with a stream of LR tokens beside the noisy ones.

Shapes: B images, K tokens of h x w patches (K = h * w), M text tokens, D channels. Names of parameters are those of the
released checkpoints; whatever is new against SD3 has "control" in its name.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.normalization import AdaLayerNormContinuous, AdaLayerNormZero, SD35AdaLayerNormZeroX
from torch import Tensor, nn

from framer.backbones.base import zeroed

Key = Literal["released", "fixed"]
Size = tuple[int, int]


class ControlAttention(Attention):
    """Joint attention over [noise, LR, text].

    The LR tokens go through the noise stream's projections and then through their own, which start at zero:
    q = W_qc(W_q l), v = W_vc(W_v l). Their key depends on `key`:

    - "released": the noise key at the same position, normalised once more. The released weights were trained with
      it, and `to_k_control` is dead.
    - "fixed": k = W_kc(W_k l), as the paper describes it.
    """

    def __init__(
        self, dim: int, heads: int, dim_head: int, qk_norm: str | None, key: Key, context_pre_only: bool = False
    ):
        super().__init__(
            query_dim=dim,
            added_kv_proj_dim=dim,
            heads=heads,
            dim_head=dim_head,
            out_dim=dim,
            context_pre_only=context_pre_only,
            bias=True,
            qk_norm=qk_norm,
            eps=1e-6,
        )
        self.key = key
        self.to_q_control = zeroed(nn.Linear(dim, dim))
        self.to_k_control = zeroed(nn.Linear(dim, dim))
        self.to_v_control = zeroed(nn.Linear(dim, dim))
        self.to_out_control = nn.Linear(dim, dim)
        # Of the random weights: those of a base are loaded later. So the released code starts, against the paper.
        self.to_out_control.load_state_dict(self.to_out[0].state_dict())

    def forward(  # type: ignore[override]
        self, noise: Tensor, lr: Tensor | None, text: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Attend; all streams are normalised and modulated already.

        Args:
            noise: (B, K, D).
            lr: (B, K, D), or None to leave the stream out: SD3's own attention.
            text: (B, M, D), or None.

        Returns:
            The streams after their output projections; text is None where it is not needed any more.
        """
        normalise_q, normalise_k = self.norm_q or nn.Identity(), self.norm_k or nn.Identity()
        q, k, v = self.to_q(noise), self.to_k(noise), self.to_v(noise)
        queries, keys, values = [normalise_q(self._split(q))], [normalise_k(self._split(k))], [self._split(v)]
        if lr is not None:
            queries.append(normalise_q(self._split(self.to_q_control(self.to_q(lr)))))
            own = keys[0] if self.key == "released" else self._split(self.to_k_control(self.to_k(lr)))
            keys.append(normalise_k(own))
            values.append(self._split(self.to_v_control(self.to_v(lr))))
        if text is not None:
            added_q, added_k = self.norm_added_q or nn.Identity(), self.norm_added_k or nn.Identity()
            queries.append(added_q(self._split(self.add_q_proj(text))))
            keys.append(added_k(self._split(self.add_k_proj(text))))
            values.append(self._split(self.add_v_proj(text)))

        attended = F.scaled_dot_product_attention(torch.cat(queries, 2), torch.cat(keys, 2), torch.cat(values, 2))
        streams = attended.transpose(1, 2).flatten(2).split([part.shape[2] for part in queries], dim=1)
        noise_out = self.to_out[0](streams[0])
        lr_out = None if lr is None else self.to_out_control(streams[1] + lr)
        text_out = None if text is None or self.context_pre_only else self.to_add_out(streams[-1])
        return noise_out, lr_out, text_out

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class ControlFeedForward(FeedForward):
    """MLP with tanh-GELU whose hidden LR features are injected into the noise stream by a depthwise 3x3 convolution."""

    def __init__(self, dim: int):
        super().__init__(dim=dim, dim_out=dim, activation_fn="gelu-approximate")
        inner = 4 * dim
        self.control_conv = zeroed(nn.Conv2d(inner, inner, kernel_size=3, padding=1, groups=inner))

    def forward(self, image: Tensor, size: Size | None, injection_scale: float) -> Tensor:
        """(B, N, D) -> (B, N, D).

        Args:
            image: the noise tokens, followed by the LR tokens when `size` is given.
            size: (h, w) of the token grid; None when there are no LR tokens.
            injection_scale: factor on what is injected.
        """
        hidden = self.net[0](image)
        if size is not None:
            noise, lr = hidden.chunk(2, dim=1)
            grid = lr.transpose(1, 2).unflatten(2, size)
            noise = noise + injection_scale * self.control_conv(grid).flatten(2).transpose(1, 2)
            hidden = torch.cat([noise, lr], dim=1)
        projected: Tensor = self.net[2](hidden)
        return projected


class ControlTransformerBlock(nn.Module):
    """One MM-DiT block. Noise and LR tokens share norms, modulation, gates and MLP.

    With `dual` there is a second attention without the text. Its text weights are dead; the released checkpoints have
    them, so they are here.
    """

    def __init__(self, dim: int, heads: int, dim_head: int, qk_norm: str | None, key: Key, dual: bool, last: bool):
        super().__init__()
        self.norm1 = SD35AdaLayerNormZeroX(dim) if dual else AdaLayerNormZero(dim)
        self.attn = ControlAttention(dim, heads, dim_head, qk_norm, key, context_pre_only=last)
        self.attn2 = ControlAttention(dim, heads, dim_head, qk_norm, key) if dual else None
        self.norm2 = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.ff = ControlFeedForward(dim)
        self.norm1_context: nn.Module
        self.norm2_context: nn.Module | None
        self.ff_context: nn.Module | None
        if last:  # nothing reads the text stream after the last block
            self.norm1_context = AdaLayerNormContinuous(dim, dim, elementwise_affine=False, eps=1e-6)
            self.norm2_context, self.ff_context = None, None
        else:
            self.norm1_context = AdaLayerNormZero(dim)
            self.norm2_context = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
            self.ff_context = FeedForward(dim=dim, dim_out=dim, activation_fn="gelu-approximate")

    def forward(
        self, image: Tensor, text: Tensor, temb: Tensor, size: Size | None, injection_scale: float
    ) -> tuple[Tensor, Tensor]:
        """One block.

        Args:
            image: (B, 2K, D), noise then LR tokens; (B, K, D) without an LR stream.
            text: (B, M, D).
            temb: embedding of timestep and pooled text, (B, D).
            size: (h, w) with h * w = K; None without an LR stream.
            injection_scale: see `ControlFeedForward`.

        Returns:
            `image` and `text`, updated; the last block leaves `text` as it is.
        """
        normed, gate, shift_mlp, scale_mlp, gate_mlp, *dual = self.norm1(image, emb=temb)
        if self.ff_context is None:
            normed_text = self.norm1_context(text, temb)
        else:
            normed_text, text_gate, text_shift, text_scale, text_gate_mlp = self.norm1_context(text, emb=temb)

        noise_out, lr_out, text_out = self.attn(*_streams(normed, size), normed_text)
        image = image + gate.unsqueeze(1) * _joined(noise_out, lr_out)
        if self.attn2 is not None:
            normed, gate = dual
            noise_out, lr_out, _ = self.attn2(*_streams(normed, size), None)
            image = image + gate.unsqueeze(1) * _joined(noise_out, lr_out)
        normed = self.norm2(image) * (1 + scale_mlp.unsqueeze(1)) + shift_mlp.unsqueeze(1)
        image = image + gate_mlp.unsqueeze(1) * self.ff(normed, size, injection_scale)

        if self.ff_context is not None and self.norm2_context is not None:
            text = text + text_gate.unsqueeze(1) * text_out
            normed_text = self.norm2_context(text) * (1 + text_scale.unsqueeze(1)) + text_shift.unsqueeze(1)
            text = text + text_gate_mlp.unsqueeze(1) * self.ff_context(normed_text)
        return image, text


def _streams(image: Tensor, size: Size | None) -> tuple[Tensor, Tensor | None]:
    if size is None:
        return image, None
    noise, lr = image.chunk(2, dim=1)
    return noise, lr


def _joined(noise: Tensor, lr: Tensor | None) -> Tensor:
    return noise if lr is None else torch.cat([noise, lr], dim=1)
