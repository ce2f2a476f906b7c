"""What is written: numbers as people meet them, and words that hold no digit and no letter that passes for one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

WORDS = """
    water energy power total price sale fresh open closed street exit push pull danger warning coffee bread milk
    apple house garden paper market kitchen battery charge network camera signal motor engine pump valve pressure
    heating serial model made type date weight volume length number order page ticket train station platform gate
    room floor level door window table light strom gas wasser zähler preis straße nummer datum uhr ausgang eingang
    achtung halt frei voll leer nacht morgen abend montag jahr eau prix rue porte sortie vente pain lait merci
    bonjour neuf été agua precio calle salida abierto gracias leche casa libro noche mercado vida with from have
    this that best before batch produced keep cool dry shake well north south east west stop taxi hotel bank
""".split()  # noqa: SIM905 - a list of strings would fill pages
LONE = "ACDEFHJKLMNPRTUVWXYacdefhkmnprtuvwxyßéÄÜ&@#%?!+=*<>()[]{}€$§~^\"'"
"""Characters that may stand alone. O, Q, I, l, S, Z, B and their like are digits to anyone who sees nothing else."""
SERIAL = "ACDEFHJKLMNPRTUVWXY"
UNITS = ("kg", "kWh", "m³", "km", "mm", "cm", "ml", "V", "Hz", "W", "kW", "°C", "%", "€", "$", "h", "min", "mA", "bar")
MARKS = ("•", "★", "→", "←", "↑", "✓", "©", "®", "+", "–", "&", "@", "#", "?", "!", "§", "€", "%", "/", "=", "*")


def word(rng: np.random.Generator) -> str:
    chosen = WORDS[rng.integers(len(WORDS))]
    return (chosen, chosen.title(), chosen.upper())[rng.integers(3)]


def phrase(rng: np.random.Generator, count: int) -> str:
    case: Callable[[str], str] = (str.lower, str.title, str.upper)[rng.integers(3)]
    return case(" ".join(WORDS[i] for i in rng.integers(len(WORDS), size=count)))


def lone(rng: np.random.Generator) -> str:
    return LONE[rng.integers(len(LONE))]


def unit(rng: np.random.Generator) -> str:
    return UNITS[rng.integers(len(UNITS))]


def digits(rng: np.random.Generator, count: int) -> str:
    """Any digits, each as often as another."""
    return "".join(str(d) for d in rng.integers(10, size=count))


def number(rng: np.random.Generator, most: int) -> str:
    """A number with up to `most` digits and at most a mark between them, for a hand, a display or a big price."""
    count = int(rng.integers(1, most + 1))
    text = digits(rng, count)
    if text == "1":
        text = digits(rng, 1)  # alone and on a display or by hand it is often a mere bar: rarer
    if count >= 4 and rng.random() < 0.25:
        return text[:2] + ":" + text[2:4]
    if count >= 3 and rng.random() < 0.4:
        cut = int(rng.integers(1, count))
        return text[:cut] + "." + text[cut:]
    return text


def entry(rng: np.random.Generator, most: int) -> str:
    """Something with digits as labels, forms and serial plates have it; about `most` digits at most."""
    n = [digits(rng, k) for k in (1, 2, 2, 2, 3, 4)]
    letters = "".join(SERIAL[i] for i in rng.integers(len(SERIAL), size=4))
    short = (n[0], n[1], f"{n[1]} {unit(rng)}", f"No. {n[1]}", f"{n[0]}.{n[2]}", f"{n[1]}%", f"{letters[:2]}-{n[1]}")
    middle = (
        f"{n[1]}:{n[2]}",
        f"€ {n[0]}.{n[2]}",
        f"{n[1]},{n[2]} €",
        f"${n[4]}",
        f"{n[5]}",
        f"{n[4]} {unit(rng)}",
        f"{letters[0]}{n[1]} {letters[1]}{n[2]}",
        f"({n[4]})",
        f"{n[1]}/{n[2]}",
        f"#{n[4]}",
    )
    long = (
        f"{n[1]}.{n[2]}.{n[5]}",
        f"{n[5]}-{n[1]}-{n[2]}",
        f"{n[1]}/{n[2]}/{n[3]}",
        f"{letters[:2]} {n[1]}-{n[5]}",
        f"+{n[1]} {n[4]} {n[5]}",
        f"{n[4]}V~ {n[1]}Hz {n[2]}W",
        f"{letters[:3]}{n[5]}{letters[3]}",
        f"{n[1]}:{n[2]}:{n[3]}",
        digits(rng, max(min(most, 10), 5)),
    )
    choices = short if most < 4 else (*short, *middle) if most < 7 else (*middle, *long)
    return choices[rng.integers(len(choices))]
