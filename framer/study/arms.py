"""The arms of a study file: the rows of its tables, and the recipe of each."""

import json
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_validator

from framer.backbones.registry import settings_class, settings_of
from framer.backbones.settings import FreeU
from framer.config_file import Name, Strict
from framer.errors import UserError, unknown
from framer.method.recipe import Recipe


def distinct(values: list[Any]) -> list[Any]:
    """The values.

    Raises:
        ValueError: one is there twice.
    """
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} is there twice")
    return values


Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(distinct)]
Distinct = Annotated[list[str], Field(min_length=1), AfterValidator(distinct)]

ALIASES = {"lambda": "weight"}
"""The paper's own names of fields of a recipe."""


@dataclass(frozen=True)
class ChosenRecipe:
    """A recipe as a study gives it.

    Attributes:
        name: of a named recipe, or a named one with the fields in which this one differs: `paper (weight=0.3)`.
        recipe: every choice.
    """

    name: str
    recipe: Recipe

    def __str__(self) -> str:
        return self.name


def chosen(given: Any) -> ChosenRecipe:
    """A recipe from its name, or from a mapping of fields over those of the named recipe `base`.

    Args:
        given: `paper`, or `{base: paper, weight: 0.3}`; the paper's name of a field stands for the field.

    Raises:
        ValueError: an unknown name or field, or a value that the field cannot take.
    """
    if isinstance(given, ChosenRecipe):
        return given
    if isinstance(given, str):
        given = {"base": given}
    if not isinstance(given, Mapping) or not isinstance(base := given.get("base"), str):
        raise ValueError("give the name of a recipe, or {base: NAME, FIELD: VALUE}")
    if base not in Recipe.names():
        raise ValueError(unknown("recipe", base, Recipe.names()))
    kinds = {field.name: field.type for field in fields(Recipe)}
    values = {kind: getattr(Recipe.named(base), kind) for kind in kinds}
    changed: dict[str, Any] = {}
    for key, value in given.items():
        field = ALIASES.get(key, key)
        if field == "base":
            continue
        if field not in kinds:
            raise ValueError(unknown("field of a recipe", str(key), [*kinds, *ALIASES]))
        if field in changed:
            raise ValueError(f"{key}: {field} is given twice")
        # A number is the same, however it is written: the digest of a job must not tell 1 from 1.0.
        whole = (
            float in (kinds[field], *get_args(kinds[field])) and isinstance(value, int) and not isinstance(value, bool)
        )
        changed[field] = float(value) if whole else tuple(value) if isinstance(value, list) else value
    try:
        recipe = Recipe(**(values | changed))
    except UserError as error:
        raise ValueError(f"{str(error.key).removeprefix('recipe.')}: {error.message}") from None
    for name in (base, *Recipe.names()):
        if recipe == Recipe.named(name):
            return ChosenRecipe(name, Recipe.named(name))
    apart = {key: value for key, value in changed.items() if value != values[key]}
    return ChosenRecipe(
        f"{base} ({', '.join(f'{key}={json.dumps(apart[key])}' for key in kinds if key in apart)})", recipe
    )


_SCHEMA = {
    "anyOf": [
        {"type": "string", "enum": list(Recipe.names())},
        {
            "type": "object",
            "properties": {
                "base": {"type": "string", "enum": list(Recipe.names())},
                **{name: {} for name in (*(field.name for field in fields(Recipe)), *ALIASES)},
            },
            "required": ["base"],
            "additionalProperties": False,
        },
    ]
}
Reading = Annotated[ChosenRecipe, BeforeValidator(chosen), WithJsonSchema(_SCHEMA)]


class SourceConfig(Strict):
    """Where supplied images are from, as far as it is known."""

    repository: str = Field(description="of the method: an address, with its commit")
    weights: str | None = Field(None, description="with which they were restored")
    settings: str | None = Field(None, description="with which they were restored")

    def __str__(self) -> str:
        return ", ".join(word for word in (self.repository, self.weights, self.settings) if word)


class ArmConfig(Strict):
    """One row of the tables. With no model of any kind and no `images` it is bicubic interpolation."""

    label: str
    backbone: str | None = Field(None, description="a key of backbones")
    recipe: Reading | None = Field(
        None, description="of the FRAMER loss: a name, or fields over those of a named one; none for the baseline"
    )
    settings: dict[str, Any] = Field(default={}, description="over those of the backbone, key by key")
    checkpoint: str | None = Field(
        None, description="published weights, by the id of their manifest in weights/; nothing is trained"
    )
    model: Literal["spandrel"] | None = Field(
        None, description="instead of a backbone: what reads 'checkpoint', a network of another architecture"
    )
    method: Name | None = Field(None, description="restored by another method's own code: its manifest in methods/")
    images: bool = Field(False, description="restored by others: images that a user puts into supplied/ARM/SET/")
    source: SourceConfig | None = Field(None, description="where supplied images are from")
    sets: list[Name] | None = Field(None, min_length=1, description="test sets of this arm alone; default: all")
    seeds: Seeds | None = Field(None, description="of this arm alone; of published weights: sampling seeds, default: 0")
    untrained: bool = Field(False, description="control: random weights, never trained")
    of: Name | None = Field(None, description="restore with the model of this arm, trained here or published")
    blank_lr: bool = Field(False, description="control: the network sees a zero LR latent")
    freeu: FreeU | None = Field(None, description="restore with FreeU; needs a backbone with skip connections")

    @property
    def title(self) -> str:
        """The label; where the recipe has no name of its own, with the difference from its base."""
        named = self.recipe is None or self.recipe.name in Recipe.names()
        return self.label if named else f"{self.label}: {self.recipe}"


def check_keys(name: str, arm: ArmConfig, arms: Mapping[str, ArmConfig], backbones: Container[str]) -> None:
    """Refuse keys of an arm that do not go together.

    Args:
        name: of the arm.
        arm: to check.
        arms: all of the study.
        backbones: those of the study.

    Raises:
        ValueError: they do not; the message starts with `arms.NAME`.
    """
    if arm.of is not None:
        if arm.of not in arms or arms[arm.of].backbone is None:
            with_model = [key for key, other in arms.items() if other.backbone]
            raise ValueError(f"arms.{name}.of: {unknown('arm with a backbone', arm.of, with_model)}")
        model = arm.backbone or arm.recipe or arm.untrained or arm.settings or arm.checkpoint or arm.model
        if model or arm.images or arm.method:
            raise ValueError(f"arms.{name}: an arm with 'of' takes its model from there; drop the other keys")
        of = str(arms[arm.of].backbone)
        if arm.freeu and of in backbones and not settings_class(of).skips:
            raise ValueError(f"arms.{name}.freeu: {of} has no skip connections, which FreeU changes; drop it")
    elif arm.blank_lr or arm.freeu:
        raise ValueError(f"arms.{name}: 'blank_lr' and 'freeu' need 'of', an arm with a network")
    elif arm.images or arm.method:
        model = arm.backbone or arm.recipe or arm.untrained or arm.settings or arm.checkpoint or arm.model
        if model or arm.seeds or (arm.images and arm.method):
            kind = "method" if arm.method else "images"
            raise ValueError(f"arms.{name}: an arm with {kind!r} has no model; drop the other keys")
        if arm.source and arm.method:
            raise ValueError(f"arms.{name}.source: stands in the manifest of the method; drop it")
    elif arm.source:
        raise ValueError(f"arms.{name}.source: is that of supplied images; add 'images: true' or drop it")
    elif arm.model:
        if not arm.checkpoint or arm.backbone or arm.seeds or arm.recipe or arm.untrained or arm.blank_lr:
            message = "an arm with 'model' has 'checkpoint', and nothing of a training; drop the other keys"
            raise ValueError(f"arms.{name}: {message}")
        try:
            settings_of(arm.model, arm.settings)
        except UserError as error:
            raise ValueError(f"arms.{name}.settings: {error}") from None
    elif arm.checkpoint:
        if not arm.backbone or arm.recipe or arm.untrained:
            raise ValueError(
                f"arms.{name}.checkpoint: needs 'backbone', and neither 'recipe' nor 'untrained': it is trained"
            )
    elif (arm.recipe or arm.untrained or arm.settings) and not arm.backbone:
        raise ValueError(f"arms.{name}: recipe, untrained and settings need 'backbone'")


class AblationConfig(Strict):
    """Arms of one backbone that stand in the ablation grid alone: one a recipe, called BACKBONE-RECIPE."""

    recipes: Annotated[
        list[Reading], WithJsonSchema({"anyOf": [{"const": "all"}, {"type": "array", "items": _SCHEMA}]})
    ]
    """Names, or fields over those of a named recipe; or `all`, which is every name."""
    sets: list[Name] | None = Field(None, min_length=1, description="test sets; default: all of the study")
    seeds: Seeds | None = Field(None, description="training seeds; default: all of the study")

    @field_validator("recipes", mode="before")
    @classmethod
    def _all(cls, given: Any) -> Any:
        return list(Recipe.names()) if given == "all" else given

    @field_validator("recipes")
    @classmethod
    def _own_arms(cls, recipes: list[ChosenRecipe]) -> list[ChosenRecipe]:
        distinct([_slug(recipe) for recipe in dict.fromkeys(recipes)])
        return recipes

    def arms(self, backbone: str) -> dict[str, ArmConfig]:
        """The arms, by name."""
        return {
            f"{backbone}-{_slug(recipe)}": ArmConfig.model_validate(
                {"label": f"{backbone}: {recipe}", "backbone": backbone, "recipe": recipe}
                | {"sets": self.sets, "seeds": self.seeds}
            )
            for recipe in self.recipes
        }


def _slug(recipe: ChosenRecipe) -> str:
    """The part of an arm's name that stands for a recipe: `cutoff_0_1`, `paper_weight_0_3`."""
    return re.sub(r"[^a-z0-9_]+", "_", recipe.name.lower()).strip("_")
