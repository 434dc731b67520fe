"""A plain flow-matching training loop on a diffusers transformer, and FRAMER in it.

The lines that FRAMER adds end in `# +`. The model is a small SD3 and the "latents" are crops of a photograph, so that
it runs in seconds on a CPU; nothing changes for a pretrained one.

    python examples/train_sd3.py
"""

import numpy as np
import torch
from diffusers import SD3Transformer2DModel
from skimage.data import astronaut

from framer.method import FramerLoss, Recipe, compared, final_projection, record


def train(steps: int = 40, batch: int = 4, size: int = 32) -> list[float]:
    """Train, and return the loss of every step."""
    torch.manual_seed(0)
    photo = torch.from_numpy(astronaut()).permute(2, 0, 1) / 127.5 - 1
    transformer = SD3Transformer2DModel(
        in_channels=3,
        out_channels=3,
        patch_size=2,
        num_layers=4,
        num_attention_heads=2,
        attention_head_dim=16,
        caption_projection_dim=32,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        sample_size=size,
        pos_embed_max_size=size // 2,
    )
    prompt, pooled = torch.zeros(batch, 1, 8), torch.zeros(batch, 8)
    optimizer = torch.optim.AdamW(transformer.parameters(), lr=2e-3)
    framer = FramerLoss(Recipe.named("released"))  # +
    blocks = record(transformer, "transformer_blocks.*", select=lambda out: out[1])  # +
    embedding = record(transformer, "time_text_embed")  # +

    losses = []
    random = np.random.default_rng(0)
    for _ in range(steps):
        corners = random.integers(0, 512 - size, (batch, 2))
        latents = torch.stack([photo[:, y : y + size, x : x + size] for y, x in corners])
        noise = torch.randn_like(latents)
        sigma = torch.randn(batch).sigmoid()
        noisy = torch.lerp(latents, noise, sigma[:, None, None, None])
        velocity = transformer(noisy, prompt, pooled, timestep=1000 * sigma).sample
        loss = (velocity - (noise - latents)).square().mean()

        temb = embedding.take()["time_text_embed"]  # +
        maps = final_projection(transformer, list(blocks.take().values()), temb, (size // 2, size // 2))  # +
        *students, teacher = compared([*maps, velocity], framer.recipe.space, "flow", noisy, sigma)  # +
        loss = loss + framer(students, teacher).loss  # +

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    for step, loss in enumerate(train()):
        print(f"step {step:3d}  loss {loss:.4f}")
