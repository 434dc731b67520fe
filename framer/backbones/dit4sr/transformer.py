"""The velocity network of DiT4SR: Stable Diffusion 3's transformer with a stream of LR tokens in every block."""

from pathlib import Path
from typing import Any, Literal, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import CombinedTimestepTextProjEmbeddings, PatchEmbed
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.normalization import AdaLayerNormContinuous
from torch import Tensor, nn

from framer.backbones.dit4sr.blocks import DEAD_IN_ATTN2, ControlAttention, ControlTransformerBlock, Key
from framer.errors import UserError, named

Start = Literal["random", "cloned"]

VARIANT = "dit4sr"
"""Part of the file name of what `DiT4SRTransformer.save_pretrained` writes."""


class DiT4SRTransformer(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The velocity network. Arguments as diffusers' `SD3Transformer2DModel`, and two more.

    Args:
        key: the key of the LR tokens; see `ControlAttention`.
        injection_scale: factor on the features that the MLPs inject. Released: 1.2 in restoring; probably 1.0 in
            training.

    Raises:
        UserError: the released key without `qk_norm`; it is a normalized key, and would be another one in the released
            code.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        sample_size: int = 128,
        patch_size: int = 2,
        in_channels: int = 16,
        num_layers: int = 18,
        attention_head_dim: int = 64,
        num_attention_heads: int = 18,
        joint_attention_dim: int = 4096,
        caption_projection_dim: int = 1152,
        pooled_projection_dim: int = 2048,
        out_channels: int = 16,
        pos_embed_max_size: int = 96,
        dual_attention_layers: tuple[int, ...] = (),
        qk_norm: str | None = None,
        key: Key = "released",
        injection_scale: float = 1.2,
    ):
        super().__init__()
        if key == "released" and qk_norm is None:
            raise UserError(
                "key 'released' requires qk_norm 'rms_norm'; without a norm, use key 'fixed'",
                key="qk_norm",
                code="conflict",
            )
        dim = num_attention_heads * attention_head_dim
        self.patch_size, self.key, self.injection_scale = patch_size, key, injection_scale
        self.gradient_checkpointing = False
        self.pos_embed = PatchEmbed(
            height=sample_size,
            width=sample_size,
            patch_size=patch_size,
            in_channels=in_channels,
            embed_dim=dim,
            pos_embed_max_size=pos_embed_max_size,
        )
        self.time_text_embed = CombinedTimestepTextProjEmbeddings(dim, pooled_projection_dim)
        self.context_embedder = nn.Linear(joint_attention_dim, caption_projection_dim)
        self.transformer_blocks = nn.ModuleList(
            ControlTransformerBlock(
                dim,
                num_attention_heads,
                attention_head_dim,
                qk_norm,
                key,
                dual=i in dual_attention_layers,
                last=i == num_layers - 1,
            )
            for i in range(num_layers)
        )
        self.norm_out = AdaLayerNormContinuous(dim, dim, elementwise_affine=False, eps=1e-6)
        self.proj_out = nn.Linear(dim, patch_size**2 * out_channels)

    def forward(
        self,
        hidden_states: Tensor,
        lr_latent: Tensor | None,
        encoder_hidden_states: Tensor,
        pooled_projections: Tensor,
        timestep: Tensor,
        position_codes: Tensor | None = None,
    ) -> Tensor:
        """Predict the velocity.

        Args:
            hidden_states: noisy latent z_t, (B, C, H, W); H and W multiples of the patch size.
            lr_latent: clean latent of the upsampled LR image, (B, C, H, W); None leaves the LR stream out.
            encoder_hidden_states: text, (B, M, joint_attention_dim).
            pooled_projections: pooled text, (B, pooled_projection_dim).
            timestep: 1000 sigma, (B,).
            position_codes: position codes of the tokens, (B, K, D), from `codes_at`; by default those in the center of
                the table, as for a separate image.

        Returns:
            v = eps - z_0, (B, C, H, W).
        """
        h, w = (side // self.patch_size for side in hidden_states.shape[-2:])
        image = self._tokens(hidden_states, position_codes)
        size = None
        if lr_latent is not None:
            size = (h, w)
            image = torch.cat([image, self._tokens(lr_latent, position_codes)], dim=1)
        temb = self.time_text_embed(timestep, pooled_projections)
        text = self.context_embedder(encoder_hidden_states)
        for block in self.transformer_blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                image, text = self._gradient_checkpointing_func(block, image, text, temb, size, self.injection_scale)
            else:
                image, text = block(image, text, temb, size, self.injection_scale)
        tokens = self.norm_out(image[:, : h * w], temb)
        patches = self.proj_out(tokens).unflatten(1, (h, w)).unflatten(-1, (self.patch_size, self.patch_size, -1))
        return patches.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

    def codes_at(self, image: tuple[int, int], corners: list[tuple[int, int]], size: tuple[int, int]) -> Tensor:
        """Position codes of tiles as parts of one image.

        Args:
            image: (H, W) of the image's latent.
            corners: (top, left) of each tile's latent in it; multiples of the patch size.
            size: (h, w) of a tile's latent.

        Returns:
            (tiles, K, D).

        Raises:
            UserError: the image is larger than the table of codes.
        """
        patch, side = self.patch_size, self.pos_embed.pos_embed_max_size
        height, width = image[0] // patch, image[1] // patch
        if max(height, width) > side:
            raise UserError(
                f"an image of {height} x {width} tokens exceeds the table of {side} x {side} position codes; use"
                " positions: local",
                key="positions",
            )
        table = self.pos_embed.pos_embed[0].unflatten(0, (side, side))
        codes = []
        for top, left in corners:
            row, column = (side - height) // 2 + top // patch, (side - width) // 2 + left // patch
            codes.append(table[row : row + size[0] // patch, column : column + size[1] // patch].flatten(0, 1))
        return torch.stack(codes)

    def _tokens(self, latent: Tensor, codes: Tensor | None) -> Tensor:
        """(B, C, H, W) -> (B, K, D)."""
        if codes is None:
            embedded: Tensor = self.pos_embed(latent)
            return embedded
        patches = self.pos_embed.proj(latent).flatten(2).transpose(1, 2)
        return (patches + codes).to(patches.dtype)

    def control(self) -> dict[str, nn.Parameter]:
        """Return the parameters that DiT4SR adds to Stable Diffusion 3, by name; some may be dead."""
        return {name: parameter for name, parameter in self.named_parameters() if is_control(name)}

    def live_control(self) -> dict[str, nn.Parameter]:
        """Return those with a gradient: with the released key, all but the LR stream's key projections."""
        return {name: p for name, p in self.control().items() if self.key == "fixed" or "to_k_control" not in name}

    def use_key(self, key: Key) -> None:
        """Change the key of the LR tokens; see `ControlAttention`."""
        self.key = key
        for module in self.modules():
            if isinstance(module, ControlAttention):
                module.key = key

    @torch.no_grad()
    def start_control(self, output: Start) -> None:
        """Initialize the control weights: zeros, except `to_out_control`.

        Args:
            output: `to_out_control` with "random" weights, as in the released code, where the copy is made before the
                base is loaded; or "cloned" from the base's output projection, as in the paper's figure.
        """
        for module in self.modules():
            if isinstance(module, ControlAttention):
                if output == "cloned":
                    module.to_out_control.load_state_dict(module.to_out[0].state_dict())
                else:
                    module.to_out_control.reset_parameters()
        for name, parameter in self.control().items():
            if "to_out_control" not in name:
                parameter.zero_()

    def fuse_for_inference(self) -> "DiT4SRTransformer":
        """Merge projections in place; see `ControlAttention.fuse_for_inference`. A second call does nothing.

        The result has other parameters than the checkpoints: it can restore, but not be trained or saved.
        """
        if not self.fused:
            for block in self.transformer_blocks:
                cast(ControlTransformerBlock, block).fuse_for_inference()
        return self

    @property
    def fused(self) -> bool:
        """Whether `fuse_for_inference` was called."""
        return hasattr(self.transformer_blocks[0].attn, "fused_noise")

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:  # type: ignore[override]
        """As diffusers' own, under the variant `VARIANT`.

        Diffusers' `SD3Transformer2DModel` loads a whole DiT4SR transformer under the usual file name with a warning
        and ignores the LR stream; with this variant it finds no weights.
        """
        super().save_pretrained(folder, **{"variant": VARIANT} | options)

    @classmethod
    def from_pretrained(cls, folder: Any, **options: Any) -> Any:  # type: ignore[override]
        """As diffusers' own, from a folder that this class saved or in the released layout, but strict.

        Raises:
            UserError: the weights are not those of a whole DiT4SR transformer.
        """
        wanted = options.pop("output_loading_info", False)
        if any(Path(folder).glob(f"*.{VARIANT}.*")):
            options.setdefault("variant", VARIANT)
        loaded: Any = super().from_pretrained(folder, output_loading_info=True, **options)
        model, info = loaded
        for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if found := sorted(map(str, info[problem])):
                what = f"{problem.replace('_', ' ')}: {named(found, 1)}"
                raise UserError(f"not a whole DiT4SR transformer ({what})", path=folder, code="mismatch")
        return (model, info) if wanted else model


def move(network: nn.Module, device: torch.device | str, dtype: torch.dtype) -> None:
    """`network.to`, without the warning of diffusers' own method for every dtype."""
    nn.Module.to(network, device, dtype)


def is_control(name: str) -> bool:
    """Whether a tensor is one of DiT4SR's own trained weights."""
    return "control" in name


def is_dead_text(name: str) -> bool:
    """Whether a tensor is one of the second attentions' text weights, which are unused."""
    return ".attn2." in name and any(f".{part}." in name for part in DEAD_IN_ATTN2)
