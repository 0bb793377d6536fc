"""From what a person names to the model that is asked: a model reference, an adapter, a release.

    hf:ID@REVISION, path:DIR, wheel:…, random:…     a base model alone, asked as the recipe says
    DIR                                             what was trained (on the recipe's model, or --base), asked as
                                                    its own prompt.json says; a packed release; a model
    Production, 3, release:NAME@Production          a release, on the base model and with the prompt it was taught with

Limits: an adapter's folder does not say which base model it belongs to; PEFT refuses one whose shapes differ.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from flows.answers import Candidate
from flows.recipe import Recipe
from flows.tracking import connect_tracking
from infra.errors import UserError
from infra.hashing import fingerprint_of_folder
from infra.settings import Settings
from registry.download import download_release
from registry.ledger import Ledger, chosen_release
from registry.manifest import FILE, Manifest, check_manifest, read_manifest, read_prompt
from registry.package import ARTIFACTS, adapter_of
from registry.releases import PRODUCTION_ALIAS, Release, get_release, release_with
from tasks.evaluation.scorecard import Role
from tasks.models.endpoint import EndpointSpec
from tasks.models.loading import ADAPTER_CONFIG, is_whole_model, load_tokenizer
from tasks.models.reference import FORMS
from tasks.models.resolve import LocalModel, resolve_model

Say = Callable[[str], None]
BASE_TAG = "nightshift.base_model"
_KINDS = ("hf:", "path:", "wheel:", "random:")


def find_subject(
    text: str, recipe: Recipe, settings: Settings, release: str | None, base: str | None, say: Say
) -> tuple[Candidate, int]:
    """The model that `text` names, on this machine, and the longest answer it may give, in tokens.

    A release's own limit holds, other models' is the recipe's. `release` is the registered model's name where there are
    several. Raises UserError for what cannot be found, Incompatible for a release that does not fit what is here.
    """
    most = recipe.evaluation.max_new_tokens
    folder = Path(text)
    if text.startswith(_KINDS):
        return _bare(text, recipe, settings, say), most
    if folder.is_dir():
        if is_whole_model(folder) and not (folder / "prompt.json").is_file():
            return _bare(f"path:{text}", recipe, settings, say), most
        return _in_folder(folder, recipe, settings, base, say)
    name, version = _named_release(text, release, settings)
    if not version:
        raise UserError(
            f"no model {text!r}: it is no folder; name a release (Production, a version, release:NAME@VERSION) or a "
            f"model ({FORMS})"
        )
    return _released(name, version, recipe, settings, say)


def at_endpoint(url: str, model: str, recipe: Recipe) -> Candidate:
    """A server's model, asked as the recipe says, except that it decodes by itself: greedily, held to no schema."""
    try:
        spec = EndpointSpec(url=url, model=model)
    except ValidationError as error:
        raise UserError(f"--endpoint {url}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    prompt = recipe.prompt.model_copy(update={"decoding": "greedy"})
    return Candidate("base", f"{model} at {url}", spec, None, "", prompt)


def _bare(reference: str, recipe: Recipe, settings: Settings, say: Say) -> Candidate:
    model = resolve_model(reference, settings.models_path, say)
    return Candidate("base", reference.partition("#")[0], model, None, "", recipe.prompt)


def _in_folder(folder: Path, recipe: Recipe, settings: Settings, base: str | None, say: Say) -> tuple[Candidate, int]:
    adapter = adapter_of(folder)
    packed = folder / ARTIFACTS / FILE
    manifest = read_manifest(packed) if packed.is_file() else None
    needed = ("prompt.json",) if is_whole_model(adapter) else (ADAPTER_CONFIG, "prompt.json")
    for name in needed:
        if not (adapter / name).is_file():
            raise UserError(f"{folder} holds neither a model (config.json) nor an adapter: there is no {name} in it")
    reference = base or (manifest.base_model if manifest else recipe.model)
    model = resolve_model(reference, settings.models_path, say)
    return _candidate("predictions", str(folder), model, adapter, manifest if base is None else None, recipe)


def _released(name: str, version: str, recipe: Recipe, settings: Settings, say: Say) -> tuple[Candidate, int]:
    head = Ledger(settings.open_store(), name).head()
    if version == PRODUCTION_ALIAS:
        if head is None:
            raise UserError(f"release {name!r} has nothing in Production yet: run `nightshift retrain` first")
        version = head.version
    found = _known(name, version)
    folder = settings.root / "serving" / f"{name}-{version}-{found.adapter_hash}"
    if not folder.is_dir():
        say(f"fetching {name} version {version}")
        download_release(name, version, folder)
    packed = folder / ARTIFACTS / FILE
    manifest = read_manifest(packed) if packed.is_file() else None
    reference = manifest.base_model if manifest else found.tags.get(BASE_TAG)
    if reference is None:
        raise UserError(
            f"{name} version {version} does not say which base model it stands on; give its folder and --base"
        )
    model = resolve_model(reference, settings.models_path, say)
    role: Role = "champion" if head is not None and head.version == version else "predictions"
    return _candidate(role, f"{name} version {version}", model, adapter_of(folder), manifest, recipe)


def _candidate(
    role: Role, name: str, model: LocalModel, adapter: Path, manifest: Manifest | None, recipe: Recipe
) -> tuple[Candidate, int]:
    if manifest is not None:
        check_manifest(manifest, adapter, load_tokenizer(model.path))
    try:
        prompt = read_prompt(adapter)
    except ValidationError as error:
        raise UserError(
            f"{adapter / 'prompt.json'} is no prompt format of this version: {error.errors()[0]['msg']}"
        ) from None
    most = manifest.max_new_tokens if manifest else recipe.evaluation.max_new_tokens
    return Candidate(role, name, model, adapter, fingerprint_of_folder(adapter), prompt), most


def _known(name: str, version: str) -> Release:
    from mlflow.exceptions import MlflowException

    try:
        return get_release(name, version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(f"release {name!r} has no version {version}; `nightshift releases` lists them") from None


def _named_release(text: str, release: str | None, settings: Settings) -> tuple[str, str]:
    """The release and the version that are meant; no version where the text names neither."""
    connect_tracking(settings)
    if text.startswith("release:"):
        name, _, version = text.removeprefix("release:").partition("@")
        return name, version or PRODUCTION_ALIAS
    if text.lower() == PRODUCTION_ALIAS.lower():
        return chosen_release(settings.open_store(), release), PRODUCTION_ALIAS
    return (release_with(text, release), text) if text.isdigit() else ("", "")
