"""Configurations of DiT4SR: the tiny one and the full one."""

from typing import Any

TINY: dict[str, Any] = {
    "codec": {"factor": 4, "scale": 2.0},
    "text": {"tokens": 1},
    "process_size": 1,
    "transformer": {
        "sample_size": 32,
        "patch_size": 1,
        "num_layers": 3,
        "attention_head_dim": 32,
        "num_attention_heads": 4,
        "joint_attention_dim": 32,
        "caption_projection_dim": 128,
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
