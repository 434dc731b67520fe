"""DiT4SR (ICCV 2025): Stable Diffusion 3's transformer with an LR stream, restoring by rectified flow.

    z_t = (1 - sigma) z_0 + sigma eps,    v = eps - z_0,    z_0 = z_t - sigma v

The loss is in `losses`, the sampler in `sampler`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from framer.backbones.adapted_network import widened
from framer.backbones.base import Backbone, Batch, StepLoss
from framer.backbones.codec import Codec, PixelCodec
from framer.backbones.dit4sr.blocks import Key
from framer.backbones.dit4sr.config import FULL, TINY
from framer.backbones.dit4sr.losses import Latents, Step, flow_loss
from framer.backbones.dit4sr.sampler import Sampler
from framer.backbones.dit4sr.settings import DiT4SRRestore, DiT4SRSettings
from framer.backbones.dit4sr.text_encoder import ConstantText, PipelineText, PromptTable, Text, TextEncoder
from framer.backbones.dit4sr.transformer import DiT4SRTransformer, is_control, is_dead_text, move
from framer.backbones.dit4sr.weights_file import export, open_transformer, read_published
from framer.backbones.image_ops import upsample, upsample_torch
from framer.backbones.loading import read_part
from framer.backbones.random import Draws
from framer.backbones.settings import RestoreSettings, Settings
from framer.backbones.vae import VaeCodec
from framer.data.captions import about_objects

if TYPE_CHECKING:
    from framer.method.auxiliary import Auxiliary
    from framer.method.recipe import Space


PUBLISHED = "published"
"""Key of `config` in a run on a published pipeline; the rest of the configuration is in the pipeline's folder."""


class DiT4SR(Backbone):
    """DiT4SR at any size: on Stable Diffusion 3.5, or tiny on a pixel codec without text.

    The tiny base is pretrained as a text-free SD3: the same flow loss on HR latents, without an LR stream.

    Attributes:
        codec: pixels to latents and back.
        transformer: `network` without the wrappers of training.
        text: embeddings of prompts.
        controlled: whether the control weights are initialized, by `adapt` or from a checkpoint.
        adapted: whether `adapt` was called.
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
    def open(cls, folder: Path, settings: Settings) -> "DiT4SR":
        """Open a diffusers pipeline folder: vae, transformer, text encoders and tokenizers.

        Args:
            folder: Stable Diffusion 3.5 medium, or the same with a DiT4SR transformer in place of its own.
            settings: this backbone's.

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
        self.codec, self.network, self.transformer, self.text = codec, network, network, PromptTable(text)
        self.controlled, self.adapted = controlled, False
        self.heads = nn.ModuleList()
        self.process_size = self.config["process_size"]
        self.multiple = codec.factor * network.patch_size

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> None:
        """Move the model, and set the precision of frozen weights and arithmetic.

        Trained weights have at least the precision of float32, and the VAE stays in float32.
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
        """Make the control weights trainable, except the key projections that the released key does not use.

        They are initialized here, unless the base is already a DiT4SR.
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

    def add_heads(self, space: "Space") -> None:
        """Create nothing: every block is projected by the model's own last projection."""

    def base_state(self) -> dict[str, Tensor]:
        """Return the weights of a plain SD3, and of the VAE where it is random, without the control weights."""
        state = self.network.state_dict()
        base = {name: tensor for name, tensor in state.items() if not (is_control(name) or is_dead_text(name))}
        if isinstance(self.codec, VaeCodec):
            base |= {f"vae.{name}": tensor for name, tensor in self.codec.vae.state_dict().items()}
        return base

    def adapter_state(self) -> dict[str, Tensor]:
        return dict(self.transformer.live_control())

    def load_published(self, path: Path) -> tuple[dict[str, Any], list[str]]:
        """Load a delta, or the file of a whole released transformer; nonzero key projections mean the fixed key."""
        state = read_published(path, self.base_state())
        trained_key = any(tensor.any() for name, tensor in state.items() if "to_k_control" in name)
        key: Key = "fixed" if trained_key else "released"
        self.transformer.use_key(key)
        self.adapt(self.settings.stages[0])
        self.load_adapter(state, str(path))
        return {"key": key}, list(self.settings.stages)

    @classmethod
    def export(cls, path: Path, out: Path, form: str, base: Path | None = None) -> None:
        export(path, out, form, base)

    def load_adapter(self, state: Mapping[str, Tensor], source: str) -> None:
        """Load trained weights of a run or of a delta; they may include key projections that `key` does not use."""
        own = self.adapter_state()
        dead = self.transformer.control().keys() - own.keys()
        super().load_adapter({name: tensor for name, tensor in state.items() if name not in dead}, source)

    def filtered(self, caption: str) -> str:
        """Filter a caption as `settings.caption_filter` requires."""
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
            text: embeddings of B prompts.
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

    @torch.no_grad()
    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Posteriors of the HR and of the upsampled LR latents; see `Latents`."""
        enlarge = upsample_torch if self.settings.lr_kernel == "torch" else upsample
        # The trainer's autocast must not apply to the VAE: a cache of latents is made without it.
        with torch.autocast(self.device.type, enabled=False):
            hr, hr_std = self.codec.posterior(batch.hr.to(self.device))
            lr, lr_std = self.codec.posterior(enlarge(batch.lr.to(self.device)))
        parts = {"hr": hr, "hr_std": hr_std, "lr": lr, "lr_std": lr_std}
        return {name: part for name, part in parts.items() if part is not None}

    def encode_prompt(self, prompt: str) -> dict[str, Tensor]:
        text = self.text.get([prompt], self.settings.text_tokens)
        self.text.forget(0)
        return {"tokens": text.tokens[0], "pooled": text.pooled[0]}

    def free_text(self) -> None:
        self.text.encoder.free()

    def remember(self, prompts: Callable[[str], Mapping[str, Tensor] | None]) -> None:
        def stored(prompt: str, tokens: int) -> Text | None:
            found = prompts(prompt) if tokens == self.settings.text_tokens else None
            return None if found is None else Text(found["tokens"][None], found["pooled"][None])

        self.text.stored = stored

    def _latents(self, batch: Batch) -> Latents:
        encoded = batch.encoded or self.encode(batch)
        return Latents(**{name: part.to(self.device) for name, part in encoded.items()})

    def pretraining_loss(self, batch: Batch) -> StepLoss:
        """The flow loss on HR latents without an LR stream and without text."""
        return flow_loss(self, self._latents(batch), ("",) * len(batch.stems), batch.draws, None, lr_stream=False)

    def training_loss(self, batch: Batch, framer: "Auxiliary | None" = None) -> StepLoss:
        return flow_loss(self, self._latents(batch), self._batch_prompts(batch), batch.draws, framer)

    def layer_maps(self, batch: Batch, space: "Space") -> tuple[list[Tensor], Tensor]:
        self.transformer.injection_scale = self.settings.injection_scale
        step = Step.drawn(self, self._latents(batch), self._batch_prompts(batch), batch.draws)
        _, students, teacher = self.layers.layer_maps(self, step, space)
        return students, teacher

    def _batch_prompts(self, batch: Batch) -> tuple[str, ...]:
        return tuple(self.filtered(self.prompts.get(stem, "")) for stem in batch.stems)

    def restore(
        self,
        upsampled: Tensor,
        draws: Draws,
        options: RestoreSettings,
        *,
        prompt: str = "",
        blank_lr: bool = False,
    ) -> Tensor:
        """Euler steps from seeded noise, image by image, in tiles where an image is large; see `Sampler`."""
        assert isinstance(options, DiT4SRRestore)
        sampler = Sampler(self, options)
        single = (Draws((numbers,), draws.shared) for numbers in draws.samples)
        pairs = zip(upsampled.split(1), single, strict=True)
        images = [sampler.restore(image, own, prompt, blank_lr=blank_lr) for image, own in pairs]
        return torch.cat(images).to(upsampled.device)
