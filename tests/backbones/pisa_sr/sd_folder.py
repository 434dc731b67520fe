"""A folder in the layout of a published Stable Diffusion 2.1 pipeline, with a tiny model in it."""

import json
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from transformers import CLIPTextConfig, CLIPTextModel

VAE = {
    "block_out_channels": (32, 32, 32, 32),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "sample_size": 64,
    "norm_num_groups": 16,
}
UNET = {
    "block_out_channels": (32, 64, 64, 64),
    "layers_per_block": 1,
    "cross_attention_dim": 32,
    "attention_head_dim": (2, 4, 4, 4),
    "use_linear_projection": True,
    "norm_num_groups": 16,
}


def small_vae() -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(**VAE)


def write_pipeline(folder: Path, prediction: str = "epsilon") -> Path:
    torch.manual_seed(0)
    small_vae().save_pretrained(folder / "vae")
    UNet2DConditionModel(**UNET).save_pretrained(folder / "unet")
    DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction
    ).save_pretrained(folder / "scheduler")
    write_tokenizer(folder / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=514,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    return folder


def write_tokenizer(folder: Path) -> None:
    """A byte-level CLIP tokenizer: every byte is a token, at the end of a word or within it."""
    folder.mkdir(parents=True)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"})
    )
