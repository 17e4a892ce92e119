"""`--workspace`, which may stand anywhere on the command line.

It is taken out before the commands see their arguments: declared as an option of the root it would have to come
first, and its coercion would import pydantic even for a help text.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from ktrdr.errors import InvalidInput

OPTION = "--workspace"


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
