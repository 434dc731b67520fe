"""The one auxiliary loss of an arm: FRAMER, or an external frequency loss in its place."""

from framer.method.frequency import FrequencyLoss
from framer.method.loss import FramerLoss
from framer.method.recipe import Recipe

Auxiliary = FramerLoss | FrequencyLoss


def auxiliary_loss(recipe: Recipe) -> Auxiliary:
    """The loss that a recipe describes; a backbone's `training_loss` takes either."""
    return FrequencyLoss(recipe) if recipe.external else FramerLoss(recipe)
