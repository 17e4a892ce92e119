"""`/markets`: stored series, the bundled samples, imports."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Query, UploadFile

from ktrdr.api.composition import Composed
from ktrdr.api.paging import Page
from ktrdr.clock import utc_now
from ktrdr.jobs.data_load_operation import start_data_load
from ktrdr.market.request import ImportOptions
from ktrdr.schemas.markets import FetchRequest, ImportDocument, MarketList, QualityDocument, QualityList
from ktrdr.schemas.operations import OperationDocument
from ktrdr.schemas.problem import Problem

router = APIRouter(prefix="/markets", tags=["markets"])


@router.get("")
def list_markets(composition: Composed, page: Page) -> MarketList:
    """Return a page of stored series; counts and dates are those of the research bars."""
    return composition.markets.list(page)


@router.post("/fetch", status_code=202, responses={409: {"model": Problem}})
def fetch_market(composition: Composed, request: FetchRequest) -> OperationDocument:
    """Start loading bars from a provider and return the operation; they go through the checks of every import."""
    operation = start_data_load(composition.operation_store, composition.settings, utc_now, **request.model_dump())
    return composition.operations.document(operation)


@router.get("/quality", responses={404: {"model": Problem}})
def show_quality(
    composition: Composed,
    symbol: Annotated[str | None, Query(max_length=64)] = None,
    timeframe: Annotated[str | None, Query(max_length=16)] = None,
) -> QualityList:
    """Return quality reports, each finding with what to do about it."""
    return composition.markets.quality(symbol, timeframe)


@router.post("/{symbol}/{timeframe}/accept-findings", responses={404: {"model": Problem}})
def accept_findings(composition: Composed, symbol: str, timeframe: str) -> QualityDocument:
    """Let research use a series whatever its quality report found; this is recorded and shown with results."""
    return composition.markets.accept_findings(symbol, timeframe)


@router.post("/{symbol}/{timeframe}/adjust", status_code=201, responses={404: {"model": Problem}})
def adjust_market(
    composition: Composed,
    symbol: str,
    timeframe: str,
    file: Annotated[UploadFile, File(description="splits and dividends: date, split, dividend")],
) -> ImportDocument:
    """Adjust a series for splits and dividends, as a new snapshot."""
    return composition.markets.adjust(symbol, timeframe, file.filename or "upload", file.file)


@router.post("/samples", status_code=201)
def install_samples(composition: Composed) -> MarketList:
    """Store the bundled samples; those that are there already stay as they are."""
    return composition.markets.install_samples()


@router.post("/import", status_code=201)
def import_market(
    composition: Composed,
    file: Annotated[UploadFile, File(description="bars as Parquet or CSV")],
    symbol: Annotated[str, Form(max_length=64)],
    timeframe: Annotated[str, Form(max_length=16)],
    timezone: Annotated[str | None, Form(max_length=64)] = None,
    calendar: Annotated[str | None, Form(max_length=32)] = None,
    price_side: Annotated[str | None, Form(max_length=16)] = None,
    format: Annotated[str | None, Form(max_length=32, description="a well-known layout")] = None,
    adjust: Annotated[bool, Form(description="multiply prices by adj_close / close")] = False,
    replace: Annotated[bool, Form(description="take the file's bars where they differ from stored ones")] = False,
    accept_findings: Annotated[bool, Form(description="let research use the bars whatever is found")] = False,
    alias_of: Annotated[str | None, Form(max_length=64, description="a stored instrument, sealed likewise")] = None,
) -> ImportDocument:
    """Store a file's bars as a new snapshot, or refuse it and change nothing."""
    options = ImportOptions(
        symbol=symbol,
        timeframe=timeframe,
        timezone=timezone,
        calendar=calendar,
        price_side=price_side,
        format=format,
        adjust=adjust,
        replace=replace,
        accept_findings=accept_findings,
        alias_of=alias_of,
    )
    return composition.markets.import_upload(file.filename or "upload", file.file, options)
