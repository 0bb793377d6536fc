"""Names of invented people for synthetic databases: every first name with every last name.

Limits: plain letters only, so that a name can be quoted in SQL without escaping and typed on any keyboard.
"""

from __future__ import annotations

_FIRST = """
Ada Alan Alice Amir Ana Anton Astrid Ben Bianca Carla Carlos Chloe Clara Daniel Daria David Diego Elena Elif Emil Emma
Erik Esther Farid Felix Fiona Grace Greta Hana Hugo Ibrahim Ines Ivan Jack James Jonas Julia Kenji Kira Lars Laura Leo
Lena Lucia Mahmoud Maria Marta Mateo Maya Mei Milan Nadia Nina Noah Nora Olga Omar Oscar Paula Pedro Priya Rafael Rania
Ravi Rosa Ruth Samuel Sara Sofia Sven Tara Tariq Theo Tomas Uma Vera Victor Wanda Yara Yusuf Zoe
"""

_LAST = """
Abbott Ahmed Almeida Andersen Bauer Becker Bennett Bianchi Brown Carter Castro Chen Cooper Costa Cruz Dahl Diaz Dubois
Eriksen Evans Fernandez Fischer Foster Garcia Gomez Grant Gupta Haddad Hansen Harris Hoffman Hughes Ivanov Jansen Jones
Kaya Keller Khan Kim Klein Kovac Kowalski Kumar Larsen Lee Lopez Marino Martin Mendes Meyer Mitchell Moreau Morris Moss
Nakamura Nguyen Novak Okafor Olsen Ortiz Park Patel Pereira Petrov Popov Reed Reyes Ricci Rivera Rossi Santos Sato
Schmidt Shah Silva Singh Sokolov Stone Suzuki Tanaka Torres Turner Vargas Vega Wagner Walsh Weber White Wong Young
"""

PEOPLE: tuple[str, ...] = tuple(f"{first} {last}" for first in _FIRST.split() for last in _LAST.split())
