"""`python -m connections.providers.conform package.module:Class --golden folder`: does a provider keep its promises?"""

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from connections.providers.contract import Provider

if TYPE_CHECKING:
    from connections.providers.conformance.everything import Outcome

BROKEN, UNUSABLE = 1, 2
"""Exit statuses: a promise is broken; there is nothing that could be checked."""


class Unusable(Exception):
    """The class or its folder cannot be had; the text says why."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m connections.providers.conform", description=__doc__)
    parser.add_argument("provider", metavar="package.module:Class")
    parser.add_argument(
        "--golden",
        required=True,
        type=Path,
        action="append",
        help="the folder with settings.json and the other files; what it lacks is taken from further ones",
    )
    parser.add_argument("--quiet", action="store_true", help="tell only what is broken")
    given = parser.parse_args(arguments)
    try:
        kind = load(given.provider)
        _demand_folder(given.golden[0])
    except Unusable as problem:
        print(problem, file=sys.stderr)
        return UNUSABLE
    return told(kind, given.golden, quiet=given.quiet)


def load(name: str) -> type[Provider]:
    module, colon, attribute = name.partition(":")
    if not colon or not attribute:
        raise Unusable(f"Name the class as package.module:Class, unlike {name}.")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise Unusable(f"{module} cannot be imported: {error}. Is it on PYTHONPATH, or installed?") from error
    except AttributeError:
        raise Unusable(f"{module} has no {attribute}.") from None
    if not isinstance(found, type) or not issubclass(found, Provider):
        raise Unusable(f"{name} is no subclass of connections.providers.contract.Provider.")
    lacking = [part for part in ("kind", "label", "Settings", "modes", "parameters") if not hasattr(found, part)]
    if lacking:
        raise Unusable(f"{attribute} lacks {', '.join(lacking)}. See docs/writing-a-provider.md.")
    return found


def _demand_folder(folder: Path) -> None:
    if not (folder / "settings.json").is_file():
        raise Unusable(f"{folder} has no settings.json: the settings to make the provider with, secrets included.")


def told(kind: type[Provider], folders: list[Path], *, quiet: bool = False) -> int:
    """Run all checks and print what came of them. Returns the exit status."""
    from connections.providers.conformance.everything import outcomes  # noqa: PLC0415 - of no use to the web process
    from connections.providers.conformance.golden import Golden  # noqa: PLC0415 - likewise

    found: list[Outcome] = []
    for outcome in outcomes(Golden(kind, [folder.resolve() for folder in folders])):
        if not quiet and (not found or found[-1].about != outcome.about):
            print(f"\n{outcome.about.capitalize()}")
        found.append(outcome)
        if outcome.problem or not quiet:
            print(_line(outcome))
    broken, skipped = sum(bool(one.problem) for one in found), sum(bool(one.skipped) for one in found)
    kept = len(found) - broken - skipped
    print(f"\n{kind.label}: {kept} promises kept, {broken} broken, {skipped} skipped.")
    return BROKEN if broken else 0


def _line(outcome: "Outcome") -> str:
    if outcome.problem:
        return f"  BROKEN  {outcome.promise}\n          {outcome.problem}"
    if outcome.skipped:
        return f"  skipped {outcome.promise} ({outcome.skipped})"
    return f"  ok      {outcome.promise}"


if __name__ == "__main__":
    sys.exit(main())
