"""The one validator: for the designer's tool, the command line, the API and the trainer."""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from ktrdr.errors import StrategyInvalid
from ktrdr.strategy.consistency import consistency_faults
from ktrdr.strategy.document import plain_faults, read_yaml
from ktrdr.strategy.faults import field_faults, tidy
from ktrdr.strategy.specification import StrategySpecification


def parse_strategy(text: str) -> StrategySpecification:
    """Return the strategy that a YAML text describes.

    Raises:
        StrategyInvalid: With every fault, one message each: `indicators.rsi.timeperiod: 1 is below the minimum 2`.
    """
    document, repeated = read_yaml(text)
    return _validated(document, repeated)


def validate_strategy(document: Mapping[str, object]) -> StrategySpecification:
    """Return the strategy that a document (read from JSON or YAML) describes, defaults filled in.

    Raises:
        StrategyInvalid: With every fault, as `parse_strategy`; never anything else, whatever the document is.
    """
    if not isinstance(document, Mapping):
        raise StrategyInvalid([f"document: found {type(document).__name__}; expected a mapping"])
    return _validated(document, [])


def _validated(document: Mapping[str, object], earlier: list[str]) -> StrategySpecification:
    faults = [*earlier, *plain_faults(document)]
    try:
        specification = StrategySpecification.model_validate(dict(document))
    except ValidationError as error:
        told = {fault.partition(": ")[0] for fault in faults}  # a date in a text field is one fault, not two
        faults += [fault for fault in field_faults(error) if fault.partition(": ")[0] not in told]
        faults += consistency_faults(document)
    except StrategyInvalid as error:
        faults += error.faults
    if faults:
        raise StrategyInvalid(tidy(faults))
    return specification


def strategy_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a strategy document: a tool's input schema, and what editors complete from."""
    schema = StrategySpecification.model_json_schema(by_alias=True, mode="validation")
    schema["title"] = "ktrdr strategy"
    schema["description"] = "A trading strategy: indicators, fuzzy sets over them, labels, a small network."
    return schema


def to_yaml(specification: StrategySpecification) -> str:
    """Return the strategy as the YAML that `parse_strategy` reads back to an equal one, number for number."""
    document = specification.document()
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
