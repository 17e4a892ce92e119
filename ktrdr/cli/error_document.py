"""What `--json` prints when a command fails: the API's own answer, or a problem document like it."""

from ktrdr.cli.output import print_document_line, print_lines
from ktrdr.client.api_error import ErrorAnswer
from ktrdr.errors import KtrdrError
from ktrdr.schemas.problem import Problem


def print_error_document(error: KtrdrError) -> None:
    """Print an error as one line of JSON on stdout."""
    answer = error.__cause__
    if isinstance(answer, ErrorAnswer):
        print_lines([answer.body])
    else:
        print_document_line(Problem(title="Failed", status=None, detail=error.message, reason=error.reason))
