"""The night's model card: gathered from what the steps left in the store, kept with the version."""

from __future__ import annotations

from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.night import Night
from infra import tracking
from registry.card import CardFacts, build_card, headline, short, to_markdown, to_page
from registry.releases import Release, attach_card
from registry.verdict import Verdict
from tasks.evaluation.scorecard import Scorecard


@task(task_run_name="write model card", cache_policy=NO_CACHE)
def write_card(night: Night, release: Release, verdict: Verdict, cards: Mapping[str, Scorecard]) -> None:
    """Put the model card on the version, as its description in MLflow and as files beside the adapter."""
    facts = card_facts(night, release, verdict)
    sections = build_card(facts, cards, verdict)
    rest = f"card.md and card.html beside the adapter, in run {release.run_id}"
    attach_card(
        release,
        short(headline(cards, verdict), facts, sections, rest),
        to_markdown(facts, sections),
        to_page(facts, sections),
    )


def card_facts(night: Night, release: Release, verdict: Verdict) -> CardFacts:
    """What the card says about data, training and lineage."""
    prepared, trained = ((night.outcome(step) or {}) for step in ("prepare", "train"))
    recipe = night.recipe
    shared = recipe.training.model_dump(mode="json", exclude={"stages"})
    stages = {f"stage {s.name}": s.model_dump(mode="json", exclude={"name"}) for s in recipe.training.stages}
    evaluation = {"max_new_tokens": recipe.evaluation.max_new_tokens}
    settings = {"prompt": recipe.prompt.model_dump(mode="json"), "training": shared, **stages, "evaluation": evaluation}
    return CardFacts(
        release=release.name,
        version=release.version,
        created=verdict.created,
        description=recipe.description,
        licence=recipe.release.licence,
        base_model=recipe.model,
        base_revision=release.tags.get("nightshift.base_revision", ""),
        lineage=night.lineage()
        | {
            "MLflow run": release.run_id,
            "dataset": prepared["dataset"]["fingerprint"],
            "adapter": release.adapter_hash,
            "compared with": f"version {verdict.champion_version}" if verdict.champion_version else "nothing",
            "verdict": verdict.sealed,
        },
        sources=[
            {"kind": source.kind} | source.model_dump(mode="json", exclude_defaults=True)
            for source in recipe.data.sources
        ],
        manifest=prepared["manifest"],
        stages=trained["stages"],
        recipe={key: value for key, value in tracking.flatten(settings).items() if value not in (None, "", [], {})},
    )
