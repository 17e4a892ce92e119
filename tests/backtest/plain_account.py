"""The trading rules once more, slowly: one bar after the other, a cash account, no arrays and no shared code.

Written from the rules' text. Money is counted as a broker counts it (cash and units) where the engine counts
balances and profits, so that an error in either shows.
"""

from dataclasses import dataclass, field

MILLISECONDS_PER_YEAR = 365.25 * 24 * 3600 * 1000


@dataclass
class Bar:
    index: int
    opened: int
    known: int
    open: float
    high: float
    low: float
    close: float
    probability: float
    atr: float
    fill_bps: float
    wanted_exposure: float | None = None


@dataclass
class Plan:
    enter: float
    exit: float
    direction: str
    exposure: float
    stop_loss: float | None = None
    take_profit: float | None = None
    max_holding_bars: int | None = None
    min_bars_between_trades: int = 0
    financing_long: float = 0.0
    financing_short: float = 0.0


@dataclass
class PlainTrade:
    side: int
    entry_bar: int
    entry_price: float
    quantity: float
    equity_before: float
    stop: float | None
    target: float | None
    exit_bar: int = -1
    exit_price: float = float("nan")
    reason: str = ""
    paid: float = 0.0
    financing: float = 0.0
    net: float = float("nan")


@dataclass
class Account:
    cash: float
    units: float = 0.0
    trade: PlainTrade | None = None
    history: list[PlainTrade] = field(default_factory=list)

    def worth(self, price: float) -> float:
        return self.cash + self.units * price

    def fill(self, units: float, price: float, bps: float) -> None:
        fee = abs(units) * price * bps / 10_000
        self.cash -= units * price + fee
        self.units += units
        self.trade.paid += fee

    def carry(self, price: float, rate: float, milliseconds: int) -> None:
        charge = abs(self.units) * price * rate * milliseconds / MILLISECONDS_PER_YEAR
        self.cash -= charge
        self.trade.financing += charge

    def leave(self, bar: Bar, price: float, reason: str) -> None:
        self.fill(-self.units, price, bar.fill_bps)
        self.units = 0.0
        self.trade.exit_bar, self.trade.exit_price, self.trade.reason = bar.index, price, reason
        self.trade.net = self.cash - self.trade.equity_before
        self.history.append(self.trade)
        self.trade = None


def chance_of(side: int, bar: Bar, plan: Plan) -> float:
    """Return the probability that speaks for a position of this side."""
    if plan.direction == "both" and side < 0:
        return 1.0 - bar.probability
    return bar.probability


def sides_of(plan: Plan) -> tuple[int, ...]:
    return {"both": (1, -1), "long": (1,), "short": (-1,)}[plan.direction]


def trade_fold(account: Account, bars: list[Bar], plan: Plan) -> list[tuple[int, float, float]]:
    """Trade one fold; return (bar, equity at the close, units at the close) of each bar."""
    marks = []
    due_exit, due_side, last_exit, before = None, 0, None, None
    for bar in bars:
        if account.trade and due_exit:
            account.carry(before.close, rate_of(account, plan), bar.opened - before.known)
            account.leave(bar, bar.open, due_exit)
            last_exit = bar.index
        if due_side and account.cash > 0:
            gap = None if last_exit is None else max(bar.index - last_exit - 1, 0)
            if gap is None or gap >= plan.min_bars_between_trades:
                enter(account, bar, before, due_side, plan)
        if account.trade:
            stay_in_bar(account, bar, before, plan, is_last=bar is bars[-1])
            if account.trade is None:
                last_exit = bar.index
        marks.append((bar.index, account.worth(bar.close), account.units))
        due_exit, due_side = decide(account.trade, bar, plan)
        before = bar
    return marks


def decide(trade: PlainTrade | None, bar: Bar, plan: Plan) -> tuple[str | None, int]:
    """Return why to leave and which side to enter at the next open."""
    wanted = next((side for side in sides_of(plan) if chance_of(side, bar, plan) >= plan.enter), 0)
    if trade is None:
        return None, wanted
    age_at_next_open = bar.index + 1 - trade.entry_bar
    if chance_of(trade.side, bar, plan) < plan.exit:
        reason = "signal"
    elif plan.max_holding_bars is not None and age_at_next_open == plan.max_holding_bars:
        reason = "max_holding"
    else:
        return None, 0
    return reason, wanted if wanted == -trade.side else 0


def rate_of(account: Account, plan: Plan) -> float:
    return plan.financing_long if account.units > 0 else plan.financing_short


def enter(account: Account, bar: Bar, before: Bar, side: int, plan: Plan) -> None:
    share = plan.exposure
    if before.wanted_exposure is not None and before.wanted_exposure < share:
        share = before.wanted_exposure
    quantity = share * account.cash / bar.open
    account.trade = PlainTrade(
        side=side,
        entry_bar=bar.index,
        entry_price=bar.open,
        quantity=quantity,
        equity_before=account.cash,
        stop=None if plan.stop_loss is None else bar.open - side * plan.stop_loss * before.atr,
        target=None if plan.take_profit is None else bar.open + side * plan.take_profit * before.atr,
    )
    account.fill(side * quantity, bar.open, bar.fill_bps)


def stay_in_bar(account: Account, bar: Bar, before: Bar, plan: Plan, *, is_last: bool) -> None:
    trade = account.trade
    entered_now = trade.entry_bar == bar.index
    held_since = bar.opened if entered_now else before.known
    value_price = bar.open if entered_now else before.close
    rate = rate_of(account, plan)

    for price, level, name in ((bar.open, trade.stop, "stop"), (bar.open, trade.target, "target")):
        if level is not None and is_beyond(trade.side, price, level, name):
            account.carry(value_price, rate, bar.opened - held_since)
            account.leave(bar, price, name)
            return
    account.carry(value_price, rate, bar.known - held_since)
    worst, best = (bar.low, bar.high) if trade.side > 0 else (bar.high, bar.low)
    for price, level, name in ((worst, trade.stop, "stop"), (best, trade.target, "target")):
        if level is not None and is_beyond(trade.side, price, level, name):
            account.leave(bar, level, name)
            return
    if account.worth(bar.close) <= 0:
        account.leave(bar, bar.close, "ruin")
    elif is_last:
        account.leave(bar, bar.close, "fold_end")


def is_beyond(side: int, price: float, level: float, name: str) -> bool:
    """Tell whether a price has reached a stop (against the position) or a target (for it)."""
    wants_lower = (side > 0) == (name == "stop")
    return price <= level if wants_lower else price >= level
