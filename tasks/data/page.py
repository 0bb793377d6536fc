"""Pages for people: one HTML file each, which needs nothing else, neither network nor script.

Every template includes `page.css.j2` and so looks like the others; everything that goes in is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render_page(package: str, name: str, values: Mapping[str, Any]) -> str:
    """Template `name` of `package` filled with `values`; a value that the template misses is an error."""
    html = _environment(package).get_template(name).render(**values)
    # Models and data can hold half a surrogate pair, which no file can hold as UTF-8.
    return html.encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=8)
def _environment(package: str) -> Environment:
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("tasks.data", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
