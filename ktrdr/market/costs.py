"""What trading an instrument costs, and the defaults by asset class."""

from dataclasses import dataclass
from enum import StrEnum


class AssetClass(StrEnum):
    """What kind of thing an instrument is: it sets the default costs."""

    FX = "fx"
    EQUITY = "equity"
    INDEX = "index"
    CRYPTO = "crypto"


@dataclass(frozen=True, slots=True)
class CostModel:
    """Costs of one instrument; every fill pays the three per-side parts.

    Attributes:
        commission_bps: Per side, basis points of notional.
        half_spread_bps: Per side; a `half_spread_bps` column of the bars wins over it.
        slippage_bps: Per side.
        financing_long: Cost of holding a long position, as a fraction of notional per year; negative earns.
        financing_short: The same for a short position.
    """

    commission_bps: float
    half_spread_bps: float
    slippage_bps: float
    financing_long: float = 0.0
    financing_short: float = 0.0


def default_costs(asset_class: AssetClass) -> CostModel:
    """Return the costs that an instrument of this class starts with; financing is zero."""
    match asset_class:
        case AssetClass.FX:
            return CostModel(commission_bps=0.2, half_spread_bps=0.5, slippage_bps=0.5)
        case AssetClass.EQUITY | AssetClass.INDEX:
            return CostModel(commission_bps=0.5, half_spread_bps=1.0, slippage_bps=1.0)
        case AssetClass.CRYPTO:
            return CostModel(commission_bps=5.0, half_spread_bps=2.0, slippage_bps=2.0)
