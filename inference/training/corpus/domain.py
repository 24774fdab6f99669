"""The closed domain: what may be asked, answered and stated, and by which voices.

Reads ``data/intents.toml`` and ``data/wordings.toml``. Must not depend
on sound.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "data"

# Each unlike the others to a speaker verifier (cosines up to 0.72, where one voice has
# 0.94 with itself), and all of the best quality that the judges know of.
AGENT_VOICES = (
    "af_heart",
    "af_alloy",
    "af_river",
    "bf_isabella",
    "am_michael",
    "am_onyx",
    "bm_george",
    "bm_fable",
)
# Never heard in training; the user's voices of the evaluation.
HELD_OUT_VOICES = ("af_nova", "am_liam", "bf_lily", "bm_daniel")
USER_VOICES = (
    *("af_aoede", "af_bella", "af_jessica", "af_kore", "af_sarah", "af_sky"),
    *("am_adam", "am_echo", "am_eric", "am_fenrir", "am_puck", "am_santa"),
    *("bf_alice", "bf_emma", "bm_lewis"),
    *("ef_dora", "em_alex", "ff_siwis", "hf_alpha", "hm_omega", "if_sara"),
    *("im_nicola", "pf_dora", "pm_alex", "jf_alpha", "jm_kumo"),
    *("zf_xiaobei", "zm_yunxi"),
)


@dataclass(frozen=True)
class Intent:
    """A kind of question; a fact's answers hold a place for its value."""

    key: str
    ask: tuple[str, ...]
    say: tuple[str, ...]
    tell: tuple[str, ...] = ()
    # Spoken form first, then other spellings for the role prompt.
    values: tuple[tuple[str, ...], ...] = ()
    more: tuple[str, ...] = ()  # further wordings, for training only

    @property
    def trained(self) -> tuple[str, ...]:
        """The main wordings that training may use."""
        return self.ask[:-1]

    @property
    def held_out(self) -> str:
        return self.ask[-1]


@dataclass(frozen=True)
class Domain:
    facts: dict[str, Intent]
    talk: dict[str, Intent]
    unknown: Intent
    greeting: str
    plain_greetings: tuple[str, ...]
    backchannels: tuple[str, ...]  # the user's
    pauses: tuple[str, ...]
    more_pauses: tuple[str, ...]  # for training only
    interrupts: tuple[str, ...]
    agent_backchannels: tuple[str, ...]
    go_ahead: tuple[str, ...]
    samples: tuple[str, ...]  # what a voice prompt says

    @property
    def intents(self) -> list[Intent]:
        return [*self.facts.values(), *self.talk.values()]


def _intent(key: str, table: dict[str, Any], more: dict[str, list[str]]) -> Intent:
    values = tuple(tuple(value.split("|")) for value in table.get("values", ()))
    tell = tuple(table.get("tell", ()))
    further = tuple(more.get(key, ()))
    return Intent(key, tuple(table["ask"]), tuple(table["say"]), tell, values, further)


@cache
def load_domain() -> Domain:
    tables = tomllib.loads((DATA / "intents.toml").read_text())
    more = tomllib.loads((DATA / "wordings.toml").read_text())
    user, agent = tables["user"], tables["agent"]
    return Domain(
        facts={key: _intent(key, t, more) for key, t in tables["facts"].items()},
        talk={key: _intent(key, t, more) for key, t in tables["talk"].items()},
        unknown=_intent("unknown", tables["unknown"], more),
        greeting=tables["greetings"]["say"][0],
        plain_greetings=tuple(tables["greetings"]["plain"]),
        backchannels=tuple(user["backchannels"]),
        pauses=tuple(user["pauses"]),
        more_pauses=tuple(more["pauses"]),
        interrupts=tuple(user["interrupts"]),
        agent_backchannels=tuple(agent["backchannels"]),
        go_ahead=tuple(agent["go_ahead"]),
        samples=tuple(agent["samples"]),
    )
