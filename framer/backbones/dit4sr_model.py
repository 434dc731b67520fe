"""DiT4SR as a model: how it is built and opened, what of it trains, and the velocity it predicts."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from framer.backbones.base import Backbone, widened
from framer.backbones.codec import Codec, PixelCodec
from framer.backbones.dit4sr_blocks import Key
from framer.backbones.dit4sr_checkpoints import open_transformer, read_delta, read_published, write_delta
from framer.backbones.dit4sr_text import ConstantText, PipelineText, PromptTable, Text, TextEncoder
from framer.backbones.dit4sr_transformer import DiT4SRTransformer, is_control, is_dead_text, move
from framer.backbones.pipeline import read_part
from framer.backbones.settings import DiT4SRSettings, Settings
from framer.backbones.vae import VaeCodec
from framer.data.captions import about_objects
from framer.errors import UserError
from framer.method.taps import unwrapped

TINY: dict[str, Any] = {
    "codec": {"factor": 4, "scale": 2.0},
    "text": {"tokens": 1},
    "process_size": 1,
    "transformer": {
        "sample_size": 32,
        "patch_size": 2,
        "num_layers": 3,
        "attention_head_dim": 64,
        "num_attention_heads": 3,
        "joint_attention_dim": 32,
        "caption_projection_dim": 192,
        "pooled_projection_dim": 32,
        "pos_embed_max_size": 64,
        "dual_attention_layers": [0],
        "qk_norm": "rms_norm",
    },
}

FULL: dict[str, Any] = {
    "vae": {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": 16,
        "sample_size": 1024,
        "scaling_factor": 1.5305,
        "shift_factor": 0.0609,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
    "text": {"tokens": None, "scale": 1.0},
    "process_size": 512,
    "transformer": {
        "sample_size": 128,
        "patch_size": 2,
        "num_layers": 24,
        "attention_head_dim": 64,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "caption_projection_dim": 1536,
        "pooled_projection_dim": 2048,
        "pos_embed_max_size": 384,
        "dual_attention_layers": list(range(13)),
        "qk_norm": "rms_norm",
    },
}
"""Stable Diffusion 3.5 medium, with text at random in place of its encoders."""

PUBLISHED = "published"
"""Key of `config` in a run on a pipeline folder: everything else is in that folder."""


class DiT4SRModel(Backbone):
    """The parts of DiT4SR, without its losses and its sampler.

    Attributes:
        codec: pixels to latents and back.
        text: embeddings of prompts.
        controlled: whether the control weights have started, here or in the checkpoint.
        adapted: whether `adapt` was called.
        process_size: what the base was made for: shorter images are enlarged to it, pixels.
    """

    name = "dit4sr"
    bases: ClassVar[Mapping[str, dict[str, Any]]] = MappingProxyType({"tiny": TINY, "random": FULL})
    network: DiT4SRTransformer
    settings: DiT4SRSettings
    codec: Codec

    def __init__(self, config: dict[str, Any], settings: Settings):
        assert isinstance(settings, DiT4SRSettings)
        codec = (
            PixelCodec(**config["codec"]) if "codec" in config else VaeCodec(AutoencoderKL.from_config(config["vae"]))  # type: ignore[no-untyped-call]
        )
        options = config["transformer"]
        network = DiT4SRTransformer(
            in_channels=codec.channels, out_channels=codec.channels, key=settings.key, **options
        )
        text = ConstantText(
            width=options["joint_attention_dim"], pooled=options["pooled_projection_dim"], **config["text"]
        )
        super().__init__(config, settings)
        self._assemble(codec, network, text, controlled=False)

    @classmethod
    def open(cls, folder: Path, settings: Settings) -> "DiT4SRModel":
        """A pipeline folder of diffusers: vae, transformer, text encoders and tokenizers.

        Args:
            folder: Stable Diffusion 3.5 medium, or the same with a DiT4SR transformer in place of its own.
            settings: of this backbone.

        Raises:
            UserError: a part is missing or of another model.
        """
        assert isinstance(settings, DiT4SRSettings)
        network, controlled = open_transformer(folder / "transformer", settings.key)
        vae = read_part(AutoencoderKL, folder / "vae")
        self = cls.__new__(cls)
        Backbone.__init__(self, {PUBLISHED: True, "process_size": FULL["process_size"]}, settings)
        self._assemble(VaeCodec(vae), network, PipelineText(folder), controlled)
        return self

    def _assemble(self, codec: Codec, network: DiT4SRTransformer, text: TextEncoder, controlled: bool) -> None:
        self.codec, self.network, self.text = codec, network, PromptTable(text)
        self.controlled, self.adapted = controlled, False
        self.heads = nn.ModuleList()
        self.process_size: int = self.config["process_size"]
        self.multiple = codec.factor * network.patch_size

    @property
    def transformer(self) -> DiT4SRTransformer:
        """The network itself, whatever wraps it for training."""
        return cast(DiT4SRTransformer, unwrapped(self.network))

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> None:
        """Move the model, and choose the precision of frozen weights and arithmetic.

        What trains has at least the bits of float32, and the VAE stays in it.
        """
        self.device, self.dtype = torch.device(device), dtype
        exact = {parameter: parameter.data for parameter in self.trainable().values()} if self.adapted else {}
        move(self.transformer, device, dtype)
        for parameter, data in exact.items():
            parameter.data = data.to(device, widened(dtype))
        if isinstance(self.codec, nn.Module):
            self.codec.to(device)
        if isinstance(self.text.encoder, PipelineText):
            self.text.encoder.device, self.text.encoder.dtype = device, dtype

    def adapt(self, stage: str) -> None:
        """Train the control weights, but for the key projections that the released key leaves dead.

        They start here, unless the base is a DiT4SR already.
        """
        for parameter in self.network.live_control().values():
            parameter.data = parameter.data.to(widened(self.dtype))
        if not self.controlled:
            self.network.start_control(self.settings.control_out)
            self.controlled = True
        self.network.requires_grad_(False)
        for parameter in self.network.live_control().values():
            parameter.requires_grad_(True)
        self.adapted = True
        if self.settings.gradient_checkpointing:
            self.network.enable_gradient_checkpointing()

    def add_heads(self) -> None:
        """None: every block is read through the model's own last projection."""

    def base_state(self) -> dict[str, Tensor]:
        """All that a plain SD3 has, and the VAE where it is random; not the control weights, which start in `adapt`."""
        state = self.network.state_dict()
        base = {name: tensor for name, tensor in state.items() if not (is_control(name) or is_dead_text(name))}
        if isinstance(self.codec, VaeCodec):
            base |= {f"vae.{name}": tensor for name, tensor in self.codec.vae.state_dict().items()}
        return base

    def adapter_state(self) -> dict[str, Tensor]:
        return dict(self.transformer.live_control())

    def load_published(self, path: Path) -> tuple[dict[str, Any], list[str]]:
        """A delta, or the file of a whole released transformer; key projections that are not zero were trained."""
        state = read_published(path, self.base_state())
        trained_key = any(tensor.any() for name, tensor in state.items() if "to_k_control" in name)
        key: Key = "fixed" if trained_key else "released"
        self.transformer.use_key(key)
        self.adapt(self.settings.stages[0])
        self.load_adapter(state, str(path))
        return {"key": key}, list(self.settings.stages)

    @classmethod
    def export(cls, path: Path, out: Path, form: str) -> None:
        if form != "delta":
            raise UserError(f"{form}: {cls.name} has no form of that name; there are run and delta")
        write_delta(read_delta(path), out)

    def load_adapter(self, state: Mapping[str, Tensor], source: str) -> None:
        """Load trained weights, of a run or of a delta; key projections that `key` leaves dead may be among them."""
        own = self.adapter_state()
        dead = self.transformer.control().keys() - own.keys()
        super().load_adapter({name: tensor for name, tensor in state.items() if name not in dead}, source)

    def filtered(self, caption: str) -> str:
        """A caption as the network gets it."""
        return about_objects(caption) if self.settings.caption_filter == "objects" else caption

    def velocity(
        self,
        noisy: Tensor,
        lr_latent: Tensor | None,
        sigma: Tensor,
        text: Text,
        position_codes: Tensor | None = None,
    ) -> Tensor:
        """v(z_t, z_LR, sigma, text), float32.

        Args:
            noisy: z_t, (B, C, h, w).
            lr_latent: (B, C, h, w), or None.
            sigma: (B,).
            text: of B prompts.
            position_codes: as for `DiT4SRTransformer`.
        """
        dtype = self.dtype
        with self.autocast():
            velocity: Tensor = self.network(
                noisy.to(dtype),
                None if lr_latent is None else lr_latent.to(dtype),
                text.tokens.to(dtype),
                text.pooled.to(dtype),
                sigma * 1000,
                position_codes,
            )
        return velocity.to(widened(dtype))
