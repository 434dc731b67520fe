"""The blocks of DiT4SR (ICCV 2025): SD3's joint transformer block with a second stream of LR tokens.

Shapes: B images, K tokens of h x w patches (K = h * w), M text tokens, D channels. Names of parameters are those of the
released checkpoints; the parameters that SD3 does not have contain "control" in their names.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.normalization import AdaLayerNormContinuous, AdaLayerNormZero, SD35AdaLayerNormZeroX
from torch import Tensor, nn

from framer.backbones.state_dict import zeroed

Key = Literal["released", "fixed"]
Size = tuple[int, int]

DEAD_IN_ATTN2 = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "norm_added_q", "norm_added_k")
"""Text weights of a second attention, which has no text: unused, but part of the released checkpoints."""


class ControlAttention(Attention):
    """Joint attention over [noise, LR, text].

    The LR tokens go through the noise stream's projections and then through their own, which start at zero:
    q = W_qc(W_q l), v = W_vc(W_v l). Their key depends on `key`:

    - "released": the noise key at the same position, normalized once more. The released weights were trained with
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

    def forward(  # type: ignore[override]
        self, noise: Tensor, lr: Tensor | None, text: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Attend; all streams are normalized and modulated already.

        Args:
            noise: (B, K, D).
            lr: (B, K, D), or None without an LR stream: SD3's own attention.
            text: (B, M, D), or None.

        Returns:
            The streams after their output projections; text is None after the last use.
        """
        normalize_q, normalize_k = self.norm_q or nn.Identity(), self.norm_k or nn.Identity()
        q, k, v = (self._split(x) for x in self._project_noise(noise))
        queries, keys, values = [normalize_q(q)], [normalize_k(k)], [v]
        if lr is not None:
            q, v, *k_lr = (self._split(x) for x in self._project_lr(lr))
            queries.append(normalize_q(q))
            keys.append(normalize_k(k_lr[0] if k_lr else keys[0]))
            values.append(v)
        if text is not None:
            added_q, added_k = self.norm_added_q or nn.Identity(), self.norm_added_k or nn.Identity()
            q, k, v = (self._split(x) for x in self._project_text(text))
            queries.append(added_q(q))
            keys.append(added_k(k))
            values.append(v)

        attended = F.scaled_dot_product_attention(torch.cat(queries, 2), torch.cat(keys, 2), torch.cat(values, 2))
        streams = attended.transpose(1, 2).flatten(2).split([part.shape[2] for part in queries], dim=1)
        noise_out = self.to_out[0](streams[0])
        lr_out = None if lr is None else self.to_out_control(streams[1] + lr)
        text_out = None if text is None or self.context_pre_only else self.to_add_out(streams[-1])
        return noise_out, lr_out, text_out

    def fuse_for_inference(self, text: bool) -> None:
        """Merge the projections in place: one product per stream, with consecutive LR projections as one matrix.

            W_c (W l + b) + b_c = (W_c W) l + (W_c b + b_c)

        The merged parameters and the unused ones are deleted.

        Args:
            text: whether this attention has text; if not, its text weights are unused.
        """
        pairs = [(self.to_q, self.to_q_control), (self.to_v, self.to_v_control)]
        if self.key == "fixed":
            pairs.append((self.to_k, self.to_k_control))
        self.fused_noise = _stacked([self.to_q, self.to_k, self.to_v])
        self.fused_lr = _stacked([_composed(first, second) for first, second in pairs])
        if text:
            self.fused_text = _stacked([self.add_q_proj, self.add_k_proj, self.add_v_proj])
        for name in ("to_q", "to_k", "to_v", "to_q_control", "to_k_control", "to_v_control"):
            delattr(self, name)
        for name in ("add_q_proj", "add_k_proj", "add_v_proj", *(() if text else DEAD_IN_ATTN2)):
            if getattr(self, name, None) is not None:
                delattr(self, name)

    # Query, key and value of a stream; for the LR stream, query, value, and its own key if it has one.
    def _project_noise(self, noise: Tensor) -> tuple[Tensor, ...]:
        if fused := getattr(self, "fused_noise", None):
            return fused(noise).chunk(3, dim=2)
        return self.to_q(noise), self.to_k(noise), self.to_v(noise)

    def _project_lr(self, lr: Tensor) -> tuple[Tensor, ...]:
        if fused := getattr(self, "fused_lr", None):
            return fused(lr).chunk(2 if self.key == "released" else 3, dim=2)
        query, value = self.to_q_control(self.to_q(lr)), self.to_v_control(self.to_v(lr))
        return (query, value) if self.key == "released" else (query, value, self.to_k_control(self.to_k(lr)))

    def _project_text(self, text: Tensor) -> tuple[Tensor, ...]:
        if fused := getattr(self, "fused_text", None):
            return fused(text).chunk(3, dim=2)
        return self.add_q_proj(text), self.add_k_proj(text), self.add_v_proj(text)

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


@torch.no_grad()
def _composed(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """Compose second(first(x)) as one linear map, in float32 for every dtype of the weights."""
    outer = second.weight.float()
    weight, bias = outer @ first.weight.float(), outer @ first.bias.float() + second.bias.float()
    return _linear(weight.to(first.weight.dtype), bias.to(first.bias.dtype))


@torch.no_grad()
def _stacked(layers: list[nn.Linear]) -> nn.Linear:
    """Concatenate the outputs of several linear maps of one input."""
    return _linear(torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers]))


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


class ControlFeedForward(FeedForward):
    """MLP with tanh-GELU whose hidden LR features are injected into the noise stream by a depthwise 3x3 convolution."""

    def __init__(self, dim: int):
        super().__init__(dim=dim, dim_out=dim, activation_fn="gelu-approximate")
        inner = 4 * dim
        self.control_conv = zeroed(nn.Conv2d(inner, inner, kernel_size=3, padding=1, groups=inner))

    def forward(self, image: Tensor, size: Size | None, injection_scale: float) -> Tensor:
        """Apply the MLP: (B, N, D) -> (B, N, D).

        Args:
            image: the noise tokens, followed by the LR tokens when `size` is given.
            size: (h, w) of the token grid; None without LR tokens.
            injection_scale: factor on the injected features.
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

    With `dual` there is a second attention without the text. Its text weights are unused; they exist since the released
    checkpoints contain them.
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
        if last:  # the text stream ends at the last block
            self.norm1_context = AdaLayerNormContinuous(dim, dim, elementwise_affine=False, eps=1e-6)
            self.norm2_context, self.ff_context = None, None
        else:
            self.norm1_context = AdaLayerNormZero(dim)
            self.norm2_context = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
            self.ff_context = FeedForward(dim=dim, dim_out=dim, activation_fn="gelu-approximate")

    def fuse_for_inference(self) -> None:
        """See `ControlAttention.fuse_for_inference`."""
        self.attn.fuse_for_inference(text=True)
        if self.attn2 is not None:
            self.attn2.fuse_for_inference(text=False)

    def forward(
        self, image: Tensor, text: Tensor, temb: Tensor, size: Size | None, injection_scale: float
    ) -> tuple[Tensor, Tensor]:
        """Run one block.

        Args:
            image: (B, 2K, D), noise then LR tokens; (B, K, D) without an LR stream.
            text: (B, M, D).
            temb: embedding of timestep and pooled text, (B, D).
            size: (h, w) with h * w = K; None without an LR stream.
            injection_scale: see `ControlFeedForward`.

        Returns:
            `image` and `text`, updated; the last block returns `text` unchanged.
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
