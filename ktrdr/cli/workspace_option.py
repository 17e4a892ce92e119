"""`--workspace`, which may stand anywhere on the command line.

It is taken out before the commands see their arguments: declared as an option of the root it would have to come
first, and its coercion would import pydantic even for a help text.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ktrdr.errors import InvalidInput

OPTION = "--workspace"
# Only where something follows: a folder that is still being typed is completed as what it is.
_TYPED_OPTION = re.compile(r"\s--workspace(?:=|\s+)(?P<folder>[^\s-]\S*)(?=\s)")


def take_workspace(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without `--workspace DIR`, which is put into the environment.

    Every process of the command, workers and their jobs too, learns the workspace from there.

    Raises:
        InvalidInput: No folder follows the option.
    """
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            return [*rest, argument, *left]
        name, equals, value = argument.partition("=")
        if name != OPTION:
            rest.append(argument)
            continue
        folder = value if equals else next(left, "")
        if not folder or folder.startswith("-"):
            raise InvalidInput(f"{OPTION}: need a folder, as in `{OPTION} DIR`")
        os.environ["KTRDR_WORKSPACE"] = str(Path(folder).expanduser().resolve())
    return rest


def take_completed_workspace() -> None:
    """Take `--workspace DIR` out of the command line that a shell wants completed, and put it into the environment.

    bash hands the line over as COMP_WORDS and the place of the cursor as COMP_CWORD, other shells as
    _TYPER_COMPLETE_ARGS.
    """
    for variable in ("COMP_WORDS", "_TYPER_COMPLETE_ARGS"):
        line = os.environ.get(variable, "")
        found = _TYPED_OPTION.search(line)
        if found is None:
            continue
        os.environ["KTRDR_WORKSPACE"] = str(Path(found["folder"]).expanduser().resolve())
        os.environ[variable] = line[: found.start()] + line[found.end() :]
        if variable == "COMP_WORDS":
            os.environ["COMP_CWORD"] = str(int(os.environ.get("COMP_CWORD", "0")) - len(found[0].split()))
