"""The model card says what there is to say, twice alike, and nothing in the data can break its form."""

from __future__ import annotations

import pytest

from registry.card import LONGEST_DESCRIPTION, CardFacts, Section, build_card, headline, short, to_markdown, to_page
from registry.gates import GateOutcome
from registry.verdict import decide
from tasks.evaluation.scorecard import ExampleOutcome, GoldCounts, Interval, Scorecard, Subject

NASTY = "Which | of `these` <script>alert(1)</script>\n# are [new](x)?"


def interval(value):
    return Interval(value=value, low=value - 0.1, high=value + 0.1, n=50)


@pytest.fixture
def judged():
    wrong = ExampleOutcome(
        id="1", question=NASTY, gold="SELECT 1", sql="SELECT a FROM b", execution_match=False, status="ok",
        parses=True, prepares=True, runs=True, error_class="wrong_rows", seconds=0.1,
    )  # fmt: skip
    scores = Scorecard(
        subject=Subject(role="challenger", name="x", fingerprint="f"),
        test_fingerprint="t1",
        rules="strict-bag 1",
        engines={"sqlite": 50},
        n=50,
        metrics={"execution_accuracy": interval(0.6), "runs": interval(0.8)},
        slices={"clause": {"join": {"execution_accuracy": interval(0.2)}}},
        gold=GoldCounts(ok=49, empty=1, failed=0),
        errors={"wrong_rows": 7, "timeout": 0},
        examples=[wrong] * 9,
    )
    gate = GateOutcome(
        id="accuracy", metric="execution_accuracy", slice=None, rule="at least", value=0.6, threshold=0.5,
        status="pass", evidence="0.600 of 50",
    )  # fmt: skip
    verdict = decide(
        [gate], release="r", version="3", adapter_hash="a", test_fingerprint="t1", champion_version="2",
        champion_adapter_hash="b", night="n1",
    )  # fmt: skip
    return {"challenger": scores, "base": scores}, verdict


@pytest.fixture
def card(judged):
    facts = CardFacts(
        release="r",
        version="3",
        created="2026-01-01",
        description="singers",
        licence="Apache-2.0",
        base_model="hf:org/model@main",
        base_revision="",
        lineage={"night": "n1", "dataset": "d1"},
        sources=[{"kind": "generated", "seed": 7}],
        manifest={
            "accounting": {"rows": 10, "kept": 9},
            "splits": {"train": 8, "test": 1},
            "difficulty": {"train": {"hard": 3, "easy": 5}, "test": {"medium": 1}},
            "mixture": {"gen": {"rows": 8, "epochs": 1.25}},
        },
        stages=[
            {
                "name": "easy",
                "method": "sft",
                "rows": 8,
                "steps": 2,
                "eval_loss": 0.5,
                "seconds": 1.0,
                "curve": [(1, 2.0), (2, 1.0)],
            }
        ],
        recipe={"training.seed": 42},
    )
    return facts, build_card(facts, *judged)


def test_both_forms_hold_every_part(card):
    facts, sections = card
    assert [s.title for s in sections] == [
        "What it is", "Scorecard", "Gates", "Known failures", "Data", "Training", "Recipe", "Lineage",
    ]  # fmt: skip
    markdown, html = to_markdown(facts, sections), to_page(facts, sections)
    for text in (markdown.replace("\\", ""), html):
        for part in (
            "Apache-2.0", "not pinned", "0.600 (0.500 to 0.700)", "0.600 of 50", "clause: join", "wrong_rows 7",
            "strict-bag 1; run by sqlite (50)", "epochs 1.25", "2.000 to 1.000", "█▁", "1.649", "training.seed", "d1",
            "against version 2",
        ):  # fmt: skip
            assert part in text, part
    assert "polyline" in html
    assert "| split | rows | easy | medium | hard |" in markdown


def test_data_cannot_break_the_form(card):
    facts, sections = card
    html, markdown = to_page(facts, sections), to_markdown(facts, sections)
    assert "<script>alert" not in html
    assert "https://" not in html
    assert "\n# are" not in markdown
    assert "\\<script\\>" in markdown


def test_the_description_fits_mlflow_and_names_the_rest(card):
    facts, sections = card
    assert len(short("pass: better", facts, sections, "run 7")) <= LONGEST_DESCRIPTION
    long = Section(title="Recipe", table=[["setting", "value"], *([f"setting{n}", "x" * 50] for n in range(200))])
    text = short("pass: better", facts, [*sections[:6], long, sections[7]], "run 7")
    assert len(text) <= LONGEST_DESCRIPTION
    assert "run 7" in text
    assert "Known failures" in text
    assert text.startswith("pass: better\n\n## What it is\n")


def test_one_line_tells_versions_apart(judged):
    cards, verdict = judged
    assert headline(cards, verdict) == "pass: execution accuracy 0.600, base model 0.600 (n=50)"
    with_champion = cards | {"champion": cards["base"]}
    assert headline(with_champion, verdict).endswith("base model 0.600, version 2 0.600 (n=50)")
