"""How one family of models reads a conversation, and a conversation written down for it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

Pair = tuple[str, str]
"""What stands before a text, and what after it."""
COLONS = ":："
_TOKEN = re.compile(r"<<?/?[^<>\s]+>>?|\[/?[A-Za-z_]+\]")
"""What a tokenizer may read as one sign and never as the letters it is made of."""


@dataclass(frozen=True, slots=True)
class Turn:
    role: str
    """system, user or assistant"""
    text: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as one text, and what the model writes when its turn is over."""

    text: str
    stops: Sequence[str] = ()
    cleaned: bool = False
    """Whether a text held the format's own signs, which were taken out."""


@dataclass(frozen=True)
class Format:
    """One family's way. Called with a conversation, it writes it down up to where the model goes on.

    A text cannot pretend to be another turn: the format's signs are taken out of it. Where the last turn is the
    assistant's, the model continues it.
    """

    user: Pair
    assistant: Pair
    system: Pair
    folded: bool = False
    """Instructions stand inside the first user's turn: the family was taught no place for them."""
    asks: str | None = None
    """What stands where the model is to go on; None: what stands before every text of the assistant."""
    stops: Sequence[str] = ()
    begin: str = ""
    instructions: str = ""
    """Said where the caller gives none: the family knows no conversation without."""
    controls: Sequence[str] = ()
    """Signs of the family that stand in no conversation, beyond those seen in the other fields."""
    bare: bool = False
    """A conversation of one text is that text alone."""
    dense: bool = False
    """Blank lines part the turns, so a text has none."""
    round_from: int = 0
    """The number of the first `{round}`."""

    def __call__(self, conversation: Sequence[Turn]) -> Rendered:
        clean = [replace(turn, text=self._harmless(turn.text)) for turn in conversation]
        turns = self._arranged(clean)
        alone = self.bare and len(turns) == 1
        text = turns[0].text if alone else self.begin + "".join(self._written(turns))
        return Rendered(text, self.stops, cleaned=clean != list(conversation))

    def _written(self, turns: Sequence[Turn]) -> list[str]:
        """The turns and what asks the model to go on; its own last turn stays open."""
        written, rounds = [], self.round_from
        for turn in turns:
            before, after = self._pair(turn.role)
            written.append(before.replace("{round}", str(rounds)) + turn.text + after)
            rounds += turn.role == "assistant"
        if turns and turns[-1].role == "assistant":
            written[-1] = written[-1].removesuffix(self.assistant[1])
        else:
            written.append(self.assistant[0] if self.asks is None else self.asks)
        return written

    def _pair(self, role: str) -> Pair:
        return {"system": self.system, "assistant": self.assistant}.get(role, self.user)

    # --- instructions ---

    def _arranged(self, turns: Sequence[Turn]) -> Sequence[Turn]:
        """The turns as the family knows them. Instructions that nothing marks can only stand in front."""
        given = [turn.text for turn in turns if turn.role == "system"]
        told = "\n\n".join(given) or self.instructions
        if self.system[0] and not self.folded:
            return turns if given or not told else [Turn("system", told), *turns]
        others = _merged([turn for turn in turns if turn.role != "system"])
        if not told:
            return others
        return self._folded_in(told, others) if self.folded else [Turn("system", told), *others]

    def _folded_in(self, told: str, turns: Sequence[Turn]) -> list[Turn]:
        before, after = self.system
        place = next((place for place, turn in enumerate(turns) if turn.role == "user"), None)
        if place is None:
            return [Turn("user", before + told + after.rstrip()), *turns]
        first = Turn("user", before + told + after + turns[place].text)
        return [*turns[:place], first, *turns[place + 1 :]]

    # --- texts that pretend to be turns ---

    def _harmless(self, text: str) -> str:
        """The text without the format's signs: each becomes a space, so that no new one arises around it."""
        if self.dense:
            text = re.sub("\n+", "\n", text.replace("\r\n", "\n"))
        if self._signs:
            text = self._signs.sub(" ", text)
        return self._names.sub(r"\1\2", text) if self._names else text

    @cached_property
    def _signs(self) -> re.Pattern[str] | None:
        """Any of the tokens that part the turns."""
        pieces = [self.begin, *self.system, *self.user, *self.assistant, self.asks or "", *self.stops, *self.controls]
        found = {token for piece in pieces for token in _TOKEN.findall(piece)}
        longest_first = sorted(found, key=lambda token: (-len(token), token))
        return re.compile("|".join(map(re.escape, longest_first))) if found else None

    @cached_property
    def _names(self) -> re.Pattern[str] | None:
        """A speaker's name with its colon, where a turn could begin: without the colon it is a mere word."""
        openings = [pair[0].strip() for pair in (self.system, self.user, self.assistant)]
        names = [opening.splitlines()[-1].rstrip(COLONS) for opening in openings if opening.endswith(tuple(COLONS))]
        if not names:
            return None
        where = r"^([^\S\n]*)" if self._turns_begin_lines else "()"
        return re.compile(f"{where}({'|'.join(map(re.escape, names))})[{COLONS}]+", re.MULTILINE)

    @property
    def _turns_begin_lines(self) -> bool:
        return self.user[0].startswith("\n") or (self.user[1].endswith("\n") and self.assistant[1].endswith("\n"))


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    """Speakers take turns: neighbours of one role become one."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            merged[-1] = Turn(turn.role, f"{merged[-1].text}\n\n{turn.text}")
        else:
            merged.append(turn)
    return merged
