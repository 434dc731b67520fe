"""A noise-prediction loop for diffusers' U-Net on accelerate; the lines that FRAMER adds end in `# +`.

The U-Net is small and its "latents" are crops of a photograph, so that it runs in seconds on a CPU; the lines are the
same for a pretrained one.

    accelerate launch examples/train_unet.py
"""

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DConditionModel
from skimage.data import astronaut

from framer.method import Aligned, FramerLoss, Recipe, compared  # +


def train(steps: int = 40, batch: int = 4, size: int = 32, precision: str = "no") -> list[float]:
    """Train, and return the loss of every step."""
    torch.manual_seed(0)
    accelerator = Accelerator(mixed_precision=precision)
    model = UNet2DConditionModel(
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=8,
    )
    framer = FramerLoss(Recipe.named("paper"))  # +
    blocks = ["down_blocks.*", "mid_block", "up_blocks.*"]  # +
    model = Aligned.around(model, blocks, torch.zeros(1, 3, size, size), 0, torch.zeros(1, 1, 8))  # +
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    model, optimizer = accelerator.prepare(model, optimizer)

    schedule = DDPMScheduler()
    photo = torch.from_numpy(astronaut()).permute(2, 0, 1).to(accelerator.device) / 127.5 - 1
    prompt = photo.new_zeros(batch, 1, 8)
    random = np.random.default_rng(accelerator.process_index)
    losses = []
    for _ in range(steps):
        corners = random.integers(0, 512 - size, (batch, 2))
        latents = torch.stack([photo[:, y : y + size, x : x + size] for y, x in corners])
        noise = torch.randn_like(latents)
        timestep = torch.randint(1000, (batch,), device=accelerator.device)
        noisy = schedule.add_noise(latents, noise, timestep)
        output = model(noisy, timestep, prompt, return_dict=False)
        loss = (output[0] - noise).square().mean()

        epsilon, maps = output  # +
        alpha = schedule.alphas_cumprod.to(timestep.device)[timestep].sqrt()  # +
        maps = compared([*maps, epsilon], framer.recipe.space, "epsilon", noisy, (1 - alpha**2).sqrt(), alpha)  # +
        loss = loss + framer(maps[:-1], maps[-1]).loss  # +

        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    model = accelerator.unwrap_model(model).release()  # +
    return losses


if __name__ == "__main__":
    for step, loss in enumerate(train()):
        print(f"step {step:3d}  loss {loss:.4f}")
