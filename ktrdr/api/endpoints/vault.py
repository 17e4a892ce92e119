"""`/vault`: the one-time exam of a candidate on sealed bars."""

from fastapi import APIRouter

from ktrdr.api.composition import Composed
from ktrdr.schemas.operations import OperationDocument
from ktrdr.schemas.problem import Problem
from ktrdr.schemas.vault import ExamList, ExamProspect

router = APIRouter(prefix="/vault", tags=["vault"])


@router.get("")
def list_exams(composition: Composed) -> ExamList:
    """Return every look at sealed bars that this workspace has taken, and what the next one would have to show."""
    return composition.vault.list()


@router.get("/{name}", responses={404: {"model": Problem}, 409: {"model": Problem}})
def show_prospect(composition: Composed, name: str) -> ExamProspect:
    """Return what an exam of a candidate would be, and how likely it is to say anything; nothing is looked at."""
    return composition.vault.prospect(name)


@router.post("/{name}", status_code=202, responses={404: {"model": Problem}, 409: {"model": Problem}})
def open_vault(composition: Composed, name: str) -> OperationDocument:
    """Hold the one exam of a candidate and return its operation, which never says how it went: `GET /vault` does."""
    return composition.vault.open(name)
