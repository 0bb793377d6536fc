"""The recipe: one YAML file that says everything about a retrain, composed of each package's own spec."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from infra.errors import UserError, first_line
from infra.hashing import fingerprint_of_folder
from infra.spec import InfraSpec
from registry.approval import Approval
from registry.gates import Gate
from tasks.data.prompts import PromptSpec
from tasks.data.spec import DataSpec, source_fingerprint
from tasks.evaluation.spec import EvaluationSpec
from tasks.models.reference import parse_reference, reference_fingerprint
from tasks.training.curriculum import start_folder
from tasks.training.search.spec import SweepSpec
from tasks.training.spec import TrainingSpec
from validation.spec import ValidationSpec

VERSION = 1


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReleaseSpec(_Spec):
    """The registered model that the adapter becomes a version of."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name in the MLflow registry")
    approval: Approval = Field(
        "auto",
        description="auto: passed gates suffice; manual: a named person decides; when: {...}: a person decides if any "
        "of the conditions holds (first_release, gain_below, base_model_changed)",
    )
    approval_hours: float = Field(
        72, gt=0, description="time to decide; a version that nobody decided about by then is rejected"
    )
    licence: str = Field(
        "", description="licence of the adapter, for its model card; the card says so when it is empty"
    )
    price_per_hour: float | None = Field(
        None, ge=0, description="what an hour of training or evaluation costs, in your currency; for gates on cost"
    )


class Recipe(_Spec):
    """Everything about a retrain."""

    version: Literal[1] = Field(description="version of the recipe format")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name of the recipe; the MLflow experiment")
    description: str = Field("", description="one line for people")
    model: str = Field(description="the base model: hf:, path:, wheel: or random: reference")
    data: DataSpec
    validation: ValidationSpec = ValidationSpec()
    prompt: PromptSpec = PromptSpec()
    training: TrainingSpec
    evaluation: EvaluationSpec = EvaluationSpec()
    gates: tuple[Gate, ...] = Field(min_length=1, description="all must pass before an adapter goes to Production")
    release: ReleaseSpec
    infra: InfraSpec = InfraSpec()
    sweep: SweepSpec | None = Field(None, description="the search over values of this recipe; see `nightshift sweep`")

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.release.price_per_hour is None and any(gate.metric == "cost" for gate in self.gates):
            raise ValueError("a gate on cost needs release.price_per_hour")
        return self

    def content(self) -> dict[str, Any]:
        """The resolved recipe as plain JSON."""
        return self.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """What of the recipe makes a night: all but where it runs and what a search would change."""
        return self.model_dump(mode="json", exclude={"infra", "sweep"})


def builtin_recipes() -> dict[str, Path]:
    """The recipes that come with Nightshift, by name: its own first, then group after group."""
    folder = Path(str(resources.files("flows") / "recipes"))
    return {path.stem: path for path in [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*/*.yaml"))]}


def recipe_group(path: Path) -> str:
    """The group of a built-in recipe: its folder, empty for Nightshift's own."""
    return "" if path.parent.name == "recipes" else path.parent.name


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of a built-in one. Raises UserError naming what there is."""
    builtin = builtin_recipes()
    if name in builtin:
        return builtin[name]
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise UserError(f"there is no recipe file {name}: check the path, or give the name of a built-in recipe")
        return path
    near = difflib.get_close_matches(name, builtin, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"built in are {', '.join(builtin)}"
    raise UserError(f"no recipe {name!r}: it is neither a .yaml file nor a built-in recipe; {hint}")


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and check a recipe. Raises UserError on one line: file, key, and the nearest valid key."""
    content, origin = read_content(name)
    return parse_recipe(override(content, overrides), origin)


def override(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The content with values of `path=value` set in turn; the one given stays as it was."""
    content = copy.deepcopy(content)
    for one in overrides:
        set_value(content, *parse_override(one), f"--set {one!r}")
    return content


def parse_recipe(content: dict[str, Any], origin: str) -> Recipe:
    """Check a recipe's content; `origin` names it in errors."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise UserError(f"recipe {origin}: {explain(error, Recipe)}") from None


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe of a trial: `recipe` without its search, with `values` at their paths. Raises UserError as it does."""
    content = recipe.content() | {"sweep": None}
    for path, value in values.items():
        set_value(content, path, value, f"sweep.space.{path}")
    return parse_recipe(content, f"{recipe.name} with {dict(values)}")


def parse_override(override: str) -> tuple[str, Any]:
    """`training.stages.0.max_steps=3` as path and value, which is read as YAML. Raises UserError for anything else."""
    path, sign, text = override.partition("=")
    if not sign or not path:
        raise UserError(f"--set {override!r}: write path=value, for example training.stages.0.max_steps=3")
    try:
        return path, yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override!r}: the value is no YAML: {first_line(error)}") from None


def set_value(content: dict[str, Any], path: str, value: Any, told: str) -> None:
    """Set the value at a dotted path of a recipe's content, creating mappings on the way; `told` begins errors.

    A `*` in the path stands for every place of a list.
    """
    _set(content, path.split("."), 0, value, told)


def _set(node: Any, keys: list[str], i: int, value: Any, told: str) -> None:
    key: Any = keys[i]
    if isinstance(node, list):
        if key != "*" and not (key.isdigit() and int(key) < len(node)):
            raise UserError(f"{told}: {'.'.join(keys[:i])} is a list of {len(node)}; {key!r} is no place in it")
        places: list[Any] = list(range(len(node))) if key == "*" else [int(key)]
    elif isinstance(node, dict):
        places = [key]
    else:
        raise UserError(f"{told}: {'.'.join(keys[:i])} is a single value and has no {key!r}")
    for place in places:
        if i == len(keys) - 1:
            node[place] = value
        else:
            _set(node.setdefault(place, {}) if isinstance(node, dict) else node[place], keys, i + 1, value, told)


def read_content(name: str) -> tuple[dict[str, Any], str]:
    """A recipe's content before anything is checked, and its file's name."""
    path = find_recipe(name)
    return read_mapping(path, "recipe"), path.name


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """A YAML file that holds keys and values; raises UserError for any other, `what` says what it should be."""
    told = f"{what} {path.name}"
    try:
        return parse_mapping(path.read_text(encoding="utf-8"), told)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{told} cannot be read: {' '.join(str(error).split())}") from None


def parse_mapping(text: str, told: str) -> dict[str, Any]:
    """YAML that holds keys and values; raises UserError for any other, `told` begins errors."""
    try:
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{told} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{told} is no mapping of keys to values")
    return content


class _Loader(yaml.SafeLoader):
    """PyYAML takes the last of several equal keys without a word; here they are an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"a second key {key.value!r}", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


def explain(error: ValidationError, spec: type[BaseModel]) -> str:
    """The first problem of a document of class `spec` as one line; further ones are counted."""
    problems = error.errors(include_url=False)
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        *parents, key = first["loc"]
        near = difflib.get_close_matches(str(key), list(_fields_at(spec, parents)), n=1, cutoff=0.3)
        return f"unknown key {where!r}{f'; did you mean {near[0]!r}?' if near else ''}{more}"
    if first["type"] == "union_tag_invalid":
        kind, valid = first["ctx"]["tag"], [name.strip(" '") for name in first["ctx"]["expected_tags"].split(",")]
        near = difflib.get_close_matches(kind, valid, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(valid)}"
        return f"{where}: unknown {first['ctx']['discriminator'].strip(chr(39))} {kind!r}; {hint}{more}"
    if first["type"] == "missing":
        return f"{where!r} is missing{more}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}{more}" if where else f"{message}{more}"


def _fields_at(model: Any, location: Iterable[Any]) -> set[str]:
    """Names of the fields of whatever spec stands at `location`; union tags and list positions are stepped over."""
    models = [model]
    for part in location:
        inside = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        if inside:
            models = [m for annotation in inside for m in _models_in(annotation)]
        elif isinstance(part, str):
            models = [m for m in models if {part} & _tags(m)] or models
    return {name for m in models for name in m.model_fields}


def _tags(model: Any) -> set[str]:
    """What chooses a spec among those of a union: the values of its `kind` or `method`."""
    return {
        v
        for key in ("kind", "method")
        if key in model.model_fields
        for v in get_args(model.model_fields[key].annotation)
    }


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in get_args(annotation) for m in _models_in(part)]


def check_recipe(recipe: Recipe) -> tuple[list[str], str]:
    """Look at everything outside that the recipe names, before anything runs: (source fingerprints, model fingerprint).

    The adapter of `training.start_from` counts as a source. Raises UserError for a missing file or an unknown model.
    """
    sources = [source_fingerprint(source) for source in recipe.data.sources]
    start = start_folder(recipe.training)
    if start is not None:
        sources.append(fingerprint_of_folder(start))
    return sources, reference_fingerprint(parse_reference(recipe.model))
