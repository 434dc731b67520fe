"""A Stable Diffusion 3.5 pipeline folder in small: every part of the real class, with random weights."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

TRANSFORMER = {
    "sample_size": 16,
    "patch_size": 2,
    "in_channels": 4,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 32,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 16,
    "out_channels": 4,
    "pos_embed_max_size": 24,
    "dual_attention_layers": (0, 1),
    "qk_norm": "rms_norm",
}


def write_pipeline(folder: Path, seed: int = 0) -> None:
    """Save one; the VAE is four times smaller a side, and its latents have four channels."""
    torch.manual_seed(seed)
    letters = [*"abcdefghijklmnopqrstuvwxyz,.!?-"]
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    clip = CLIPTokenizer({word: i for i, word in enumerate(vocabulary)}, [], model_max_length=77)
    t5 = T5TokenizerFast(
        [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((x, -2.0) for x in ("▁", *letters))], extra_ids=0
    )
    small = {"num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 16}
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    configs = [
        CLIPTextConfig(vocab_size=len(vocabulary), hidden_size=8, projection_dim=8, **small, **ids) for _ in range(2)
    ]
    StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(**TRANSFORMER),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=AutoencoderKL(
            block_out_channels=[4, 8, 8],
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=2,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=CLIPTextModelWithProjection(configs[0]),
        tokenizer=clip,
        text_encoder_2=CLIPTextModelWithProjection(configs[1]),
        tokenizer_2=clip,
        text_encoder_3=T5EncoderModel(T5Config(vocab_size=64, d_model=32, d_kv=4, d_ff=16, num_layers=2, num_heads=2)),
        tokenizer_3=t5,
    ).save_pretrained(folder)
