"""One step of AdamW over a batch that may be spread over ranks and micro-batches."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from framer.backbones.base import Backbone, Batch, StepLoss
from framer.study.schema import Optimisation
from framer.training.checkpoint import Saved

BatchLoss = Callable[[Batch], StepLoss]


def on(device: torch.device, batch: Batch) -> Batch:
    """The batch with its images on a device; random numbers stay on the CPU until they are drawn."""
    return replace(batch, lr=batch.lr.to(device), hr=batch.hr.to(device))


class Losses(nn.Module):
    """A backbone and its heads as the one module that DDP wraps; the loss is its forward pass."""

    def __init__(self, backbone: Backbone, batch_loss: BatchLoss):
        super().__init__()
        self.network, self.heads = backbone.network, backbone.heads
        self.batch_loss = batch_loss

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's loss, a scalar with gradient, and its terms."""
        loss = self.batch_loss(batch)
        return loss.total, loss.terms


class Stepper:
    """The trainable weights of one stage, their optimizer and their moving average.

    Args:
        backbone: adapted to the stage.
        batch_loss: the loss to minimize.
        settings: the stage's.
        accelerator: device, ranks, precision.
    """

    def __init__(self, backbone: Backbone, batch_loss: BatchLoss, settings: Optimisation, accelerator: Accelerator):
        self.parameters, self.settings, self.accelerator = backbone.trainable(), settings, accelerator
        self.weights = list(self.parameters.values())
        adam = torch.optim.AdamW(self.weights, lr=settings.lr, weight_decay=settings.weight_decay)
        self.losses, self.optimizer = accelerator.prepare(Losses(backbone, batch_loss), adam)
        self.averages = [weight.detach().clone() for weight in self.weights] if settings.ema else []

    def backward(self, micro_batches: Iterator[Batch]) -> dict[str, float]:
        """Compute the gradients of one batch.

        Returns:
            The loss and every term of this rank's part of the batch, means over its micro-batches.
        """
        parts = self.settings.accumulate
        self.optimizer.zero_grad()
        values: dict[str, float] = {}
        for part in range(parts):
            batch = on(self.accelerator.device, next(micro_batches))
            last = part == parts - 1
            with nullcontext() if last else self.accelerator.no_sync(self.losses):
                total, terms = self.losses(batch)
                self.accelerator.backward(total / parts if parts > 1 else total)
            for name, value in {"loss": total, **terms}.items():
                values[name] = values.get(name, 0.0) + value.item() / parts
        return values

    def clip(self) -> float:
        """Clip the gradient to `settings.clip`; returns its norm before that, the same on all ranks."""
        norm: Tensor = self.accelerator.clip_grad_norm_(self.weights, self.settings.clip)
        return norm.item()

    def update(self, step: int, rate: float) -> None:
        """Take one step of the optimizer, and update the moving average."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self.averages:
            # Early on, average over the few steps so far, not over the random start.
            decay = min(self.settings.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.averages, [weight.detach() for weight in self.weights], 1 - decay)

    @torch.no_grad()
    def finish(self) -> None:
        """Replace the weights by their moving average, where there is one."""
        for weight, average in zip(self.weights, self.averages, strict=bool(self.averages)):
            weight.copy_(average)

    @contextmanager
    def finished(self) -> Iterator[None]:
        """The weights as `finish` would leave them, for a block."""
        before = [weight.detach().clone() for weight in self.weights] if self.averages else []
        self.finish()
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, own in zip(self.weights, before, strict=bool(before)):
                    weight.copy_(own)

    @property
    def scales(self) -> bool:
        """Whether the loss is scaled for fp16: an overflowing gradient is then skipped, and is no error."""
        return self.accelerator.scaler is not None

    def state(self) -> dict[str, Tensor]:
        """Optimiser and averages by name, as `load` takes them."""
        found: dict[str, Tensor] = {}
        states = self.optimizer.state_dict()["state"]
        for index, name in enumerate(self.parameters):
            found |= {f"optimizer/{name}/{key}": value for key, value in states.get(index, {}).items()}
        return found | {f"average/{name}": x for name, x in zip(self.parameters, self.averages, strict=False)}

    def scaler(self) -> dict[str, Any]:
        """State of the fp16 loss scaler."""
        return self.accelerator.scaler.state_dict() if self.accelerator.scaler else {}

    def load(self, saved: Saved) -> None:
        """Resume from a checkpoint of the same weights."""
        states: dict[int, dict[str, Tensor]] = {}
        for index, name in enumerate(self.parameters):
            if state := saved.group(f"optimizer/{name}"):
                states[index] = state
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": states})
        for average, value in zip(self.averages, self._averaged(saved), strict=bool(self.averages)):
            average.copy_(value)
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(saved.scaler)

    def _averaged(self, saved: Saved) -> list[Tensor]:
        found: Mapping[str, Tensor] = saved.group("average")
        return [found[name] for name in self.parameters] if self.averages else []
