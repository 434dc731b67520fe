"""A flow-matching loop for diffusers' SD3 transformer on accelerate; the lines that FRAMER adds end in `# +`.

The transformer is small and its "latents" are crops of a photograph, so that it runs in seconds on a CPU; the lines are
the same for a pretrained one.

    accelerate launch examples/train_sd3.py
"""

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import SD3Transformer2DModel
from skimage.data import astronaut

from framer.method import FramerLoss, Recipe, compared, final_projection, record  # +


def train(steps: int = 40, batch: int = 4, size: int = 32, precision: str = "no") -> list[float]:
    """Train, and return the loss of every step."""
    torch.manual_seed(0)
    accelerator = Accelerator(mixed_precision=precision)
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
    framer = FramerLoss(Recipe.named("released"))  # +
    parts = ["time_text_embed", "transformer_blocks.*"]  # +
    layers = record(transformer, parts, select=lambda out: out[1] if isinstance(out, tuple) else out)  # +
    optimizer = torch.optim.AdamW(transformer.parameters(), lr=2e-3)
    transformer, optimizer = accelerator.prepare(transformer, optimizer)

    photo = torch.from_numpy(astronaut()).permute(2, 0, 1).to(accelerator.device) / 127.5 - 1
    prompt, pooled = photo.new_zeros(batch, 1, 8), photo.new_zeros(batch, 8)
    random = np.random.default_rng(accelerator.process_index)
    losses = []
    for _ in range(steps):
        corners = random.integers(0, 512 - size, (batch, 2))
        latents = torch.stack([photo[:, y : y + size, x : x + size] for y, x in corners])
        noise = torch.randn_like(latents)
        sigma = torch.randn(batch, device=accelerator.device).sigmoid()
        noisy = torch.lerp(latents, noise, sigma[:, None, None, None])
        velocity = transformer(noisy, prompt, pooled, timestep=1000 * sigma).sample
        loss = (velocity - (noise - latents)).square().mean()

        temb, *tokens = layers.take().values()  # +
        maps = final_projection(transformer, tokens, temb, (size // 2, size // 2))  # +
        *students, teacher = compared([*maps, velocity], framer.recipe.space, "flow", noisy, sigma)  # +
        loss = loss + framer(students, teacher).loss  # +

        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    layers.close()  # +
    return losses


if __name__ == "__main__":
    for step, loss in enumerate(train()):
        print(f"step {step:3d}  loss {loss:.4f}")
