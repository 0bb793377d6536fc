"""A profile as one HTML page that needs nothing else: numbers made into text, counts into drawings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.data.drawing import box, density, histogram, share_bar
from tasks.data.page import render_page
from tasks.data.profile_document import COMPLEXITIES, Profile
from tasks.data.profile_numbers import Distribution

_LISTED = 10
_TITLES = {"question": "Question", "evidence": "Evidence", "schema": "Schema", "sql": "SQL"}


def render_profile(profile: Profile) -> str:
    """The page of one profile."""
    rows = profile.rows
    # Layouts without database names give one to each schema: a list of hashes says nothing.
    telling = profile.database_count == 1 or max(profile.databases.values(), default=0) > 1
    databases = profile.databases if telling else {}
    return render_page(
        "tasks.data",
        "profile.html.j2",
        {
            "profile": profile,
            "sentence": _sentence(profile),
            "facts": _facts(profile),
            "mixture": _lists(
                rows,
                ("Sources", profile.sources),
                ("Splits", profile.splits),
                ("Difficulty", profile.difficulty),
                ("Spider's hardness", profile.hardness),
                ("Dialects", profile.dialects if len(profile.dialects) > 1 else {}),
            ),
            "databases": _lists(rows, ("Databases", databases), ("Domains", profile.domains), most=20),
            "more_databases": max(0, profile.database_count - 20) if databases else 0,
            "own_schemas": not databases,
            "per_database": _drawn("Rows a database", profile.rows_per_database),
            "sql": _lists(
                profile.parsed,
                ("Clauses", profile.clauses),
                ("Complexity", profile.complexity),
                ("Statements", profile.statements if len(profile.statements) > 1 else {}),
                ("Tables in the query", profile.tables_used),
            ),
            "keywords": _lists(0, ("Keywords", profile.keywords), most=30),
            "boxes": _boxes(profile.keywords_by_complexity),
            "heat": _heat(profile),
            "crossed": "Domains" if set(profile.domain_complexity) <= set(profile.domains) else "Databases",
            "schemas": _lists(rows, ("Tables in the schema", profile.tables_in_schema)),
            "columns": _drawn("Columns in the schema", profile.columns_in_schema),
            "lengths": [
                {
                    "title": title,
                    "drawings": [
                        drawn
                        for what, numbers in (("characters", profile.characters), ("tokens", profile.tokens))
                        if (drawn := _drawn(what, numbers.get(name)))
                    ],
                }
                for name, title in _TITLES.items()
                if name in profile.characters
            ],
            "joint": _joint(profile),
            "words": _lists(0, ("Words", profile.words), ("First words", profile.openings), most=15),
            "duplicates": [(name, f"{count:,}", _percent(count, rows)) for name, count in profile.duplicates.items()],
            "missing": [(n, f"{count:,}", _percent(count, rows)) for n, count in profile.missing.items() if count],
            "unreadable": [(n, f"{count:,}", "") for n, count in profile.unreadable_reasons.items()],
        },
    )


def _percent(count: int, rows: int) -> str:
    return f"{100 * count / rows:.1f}%" if rows else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def _sentence(profile: Profile) -> str:
    many = "database" if profile.database_count == 1 else "databases"
    return f"{profile.rows:,} questions about {profile.database_count:,} {many}"


def _facts(profile: Profile) -> list[tuple[str, str, str]]:
    """(figure, what it is, more about it)"""
    repeated = profile.duplicates["same question and schema"]
    facts = [
        (_percent(profile.parsed, profile.rows) or "–", "of the SQL parses", f"{profile.parsed:,} of {profile.rows:,}"),
        (
            _percent(repeated, profile.rows) or "–",
            "repeat an earlier row",
            f"{repeated:,} of the same question and schema",
        ),
        (
            f"{profile.vocabulary['different']:,}",
            "different words",
            f"{profile.vocabulary['words']:,} words in all questions",
        ),
    ]
    if "sql" in profile.tokens:
        question, sql = profile.tokens["question"], profile.tokens["sql"]
        facts.append((_number(sql.median), "tokens of SQL", f"the median; {_number(question.median)} of question"))
    return facts


def _lists(rows: int, *named: tuple[str, Mapping[str, int]], most: int = _LISTED) -> list[dict[str, Any]]:
    """Bars for every list that holds something, relative to its longest; the first `most` of it, with their shares of
    `rows` beside them, without shares when that is 0."""
    found = []
    for title, counts in named:
        if not counts:
            continue
        top = max(counts.values())
        shown = list(counts.items())[:most]
        found.append(
            {
                "title": title,
                "rows": [
                    {
                        "name": name or "(none)",
                        "bar": share_bar(count / top, f"{name}: {count:,}"),
                        "count": f"{count:,}",
                        "share": _percent(count, rows),
                    }
                    for name, count in shown
                ],
            }
        )
    return found


def _drawn(title: str, numbers: Distribution | None) -> dict[str, Any] | None:
    if numbers is None or numbers.minimum == numbers.maximum:
        return None
    return {
        "title": title,
        "drawing": histogram(numbers.bins, numbers.edges, title),
        "told": f"mean {_number(numbers.mean)}, median {_number(numbers.median)}, 95% up to {_number(numbers.p95)}, "
        f"at most {_number(numbers.maximum)}" + (f"; {numbers.beyond:,} beyond the picture" if numbers.beyond else ""),
    }


def _boxes(by_complexity: Mapping[str, Distribution]) -> list[dict[str, Any]]:
    if len(by_complexity) < 2:
        return []
    top = max(one.p95 for one in by_complexity.values()) or 1
    return [
        {
            "name": name,
            "bar": box(one.p5, one.p25, one.median, one.p75, one.p95, top, f"median {_number(one.median)}"),
            "count": _number(one.median),
            "share": f"{one.n:,} rows",
        }
        for name, one in by_complexity.items()
    ]


def _heat(profile: Profile) -> dict[str, Any] | None:
    """Rows by domain (or database) and complexity, with how strongly each cell is coloured."""
    crossed = profile.domain_complexity
    kinds = [kind for kind in COMPLEXITIES if any(kind in counts for counts in crossed.values())]
    if len(crossed) < 2 or len(kinds) < 2:
        return None
    top = max(count for counts in crossed.values() for count in counts.values())
    return {
        "kinds": kinds,
        "rows": [
            (name, [(counts.get(kind, 0), round(0.45 * counts.get(kind, 0) / top, 3)) for kind in kinds])
            for name, counts in crossed.items()
        ],
    }


def _joint(profile: Profile) -> dict[str, Any] | None:
    found = profile.question_and_sql
    if found is None or found.correlation is None:
        return None
    drawing = density(found.grid, found.right, found.top, "question in characters", "SQL in characters")
    return {"drawing": drawing, "correlation": f"{found.correlation:.2f}".replace("-", "−")}
