"""Every way in which a provider can behave: the reason, the number of HTTP calls, what the ledger holds."""

import asyncio
import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import sqlalchemy as sa
from agent_desk import PlainSteps
from agent_documents import detailed_strategy_document, gate, strategy_document, subject
from fakes.anthropic_server import Answer, Hang, Raw, Refusal, priced, text, tool_use

from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.agents.choice import InvokerChoice, choose_model
from ktrdr.agents.task import AgentRun, AgentTask
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.database.tables import budget_attempts, create_tables
from ktrdr.errors import InvalidInput, PricingUnknown

KEY = "sk-ant-planted-0123456789"
CYCLE, OPERATION = "op_agent_research_20260301_120000_aaaaaa", "op_agent_design_20260301_120000_aaaaaa"
SECRET_BRIEF = "the planted brief of the otter"


def save(document, **more):
    return Answer([text("Saving."), tool_use("save_strategy_config", {"strategy": document, **more})])


def good(name="reversion_by_claude"):
    return save(strategy_document(name))


def faulty(name="reversion_by_claude"):
    return save(strategy_document(name, timeperiod=1))


LOOK = [tool_use("list_markets", {})]
STUDY = [tool_use("list_indicators", {})]


class Laboratory:
    """An invoker at a fake provider, with a real ledger."""

    def __init__(self, desk, url, *, limits=(5.0, 0.5), model=None, **environment):
        self.desk = desk
        defaults = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url, "KTRDR_AGENT_RETRY_BACKOFF_S": "0.05"}
        defaults["KTRDR_AGENT_CALL_TIMEOUT_S"] = "5"
        variables = {name: str(value) for name, value in environment.items()}
        self.settings = load_settings({"KTRDR_WORKSPACE": str(desk.workspace), **defaults, **variables}).agent
        self.database = open_database(f"sqlite:///{desk.workspace / 'state.sqlite'}")
        create_tables(self.database)
        self.ledger = BudgetLedger(self.database, utc_now, BudgetLimits(*limits))
        self.ledger.open_envelope(CYCLE)
        self.model = choose_model(model, self.settings)
        self.invoker = InvokerChoice(self.settings, self.ledger, utc_now).invoker(self.model)
        self.steps = PlainSteps()

    async def design(self, executor=None, brief=SECRET_BRIEF):
        executor = executor or self.desk.executor(OPERATION)
        return await self._run(AgentTask(role="designer", brief=brief, seed=1), executor)

    async def assess(self, context):
        executor = self.desk.executor(OPERATION, role="assessor", subject=context)
        return await self._run(AgentTask(role="assessor", brief=None, seed=1, context=context), executor)

    async def _run(self, task, executor):
        run = AgentRun(OPERATION, CYCLE, self.steps, spent_usd=0.01)
        return await self.invoker.run(task=task, tools=executor, run=run)

    def rows(self):
        query = sa.select(budget_attempts).order_by(budget_attempts.c.reserved_at_ms, budget_attempts.c.attempt_id)
        with self.database.engine.connect() as connection:
            return connection.execute(query).all()

    def charges(self):
        """What each attempt is charged with: "reserved" where the reservation stayed, else dollars."""
        return ["reserved" if row.settled_nano_usd is None else row.settled_nano_usd / 1e9 for row in self.rows()]

    def is_settled_as_billed(self, server):
        charged = sorted(charge for charge in self.charges() if charge != "reserved")
        billed = sorted(each.billed_usd for each in server.received)
        assert charged == pytest.approx(billed, abs=2e-9)
        return True


@pytest.fixture
def laboratory(desk, anthropic_server):
    made = []

    def make(*turns, **options):
        anthropic_server.turns = list(turns)
        made.append(Laboratory(desk, anthropic_server.url, **options))
        return made[-1]

    yield make
    for each in made:
        each.database.close()


def test_a_faulty_design_is_repaired_and_every_call_is_charged_as_billed(laboratory, anthropic_server):
    lab = laboratory(Answer(LOOK), faulty(), good())
    result = asyncio.run(lab.design())
    received = anthropic_server.received
    assert (result.ok, result.reason, result.turns, len(received)) == (True, "saved", 3, 3)
    assert lab.desk.strategies.names() == ["reversion_by_claude"]
    assert lab.is_settled_as_billed(anthropic_server)
    assert result.cost_usd == pytest.approx(anthropic_server.billed_usd)
    assert result.output_tokens == anthropic_server.total("output_tokens")
    cached = anthropic_server.total("cache_read_input_tokens"), anthropic_server.total("cache_creation_input_tokens")
    assert (result.cache_read_tokens, result.cache_write_tokens) == cached
    assert result.input_tokens == anthropic_server.total("input_tokens") + sum(cached)
    told = json.dumps(received[2].document["messages"][-1])
    assert "indicators.rsi.timeperiod: 1 is below the minimum 2" in told
    assert '"is_error": true' in told
    prefixes = {json.dumps([each.document["system"], each.document["tools"]]) for each in received}
    assert len(prefixes) == 1
    assert all(row.reserved_nano_usd > row.settled_nano_usd for row in lab.rows())


def test_a_typical_cycle_stays_within_its_tokens_and_dollars_however_much_was_tried(laboratory, anthropic_server):
    remarks = [
        f"{measured} is what a short holding time in a market of low costs would bring by luck"
        for measured in ("Profit factor 1.3 over 64 trades", "Sharpe 0.8 with 64 trades", "Drawdown 12 %")
    ]
    opinion = {"judgement": "mediocre", "strengths": remarks, "weaknesses": remarks, "suggestions": remarks}
    right = detailed_strategy_document("reversion_by_claude", timeperiod=60, adx=50)
    wrong, worse = (
        right | {"indicators": right["indicators"] | {"rsi": {"type": "RSI", "timeperiod": n}}} for n in (1, 0)
    )
    lab = laboratory(*map(save, (worse, wrong, right)), Answer([tool_use("save_assessment", opinion)]))
    lab.desk.try_many(200)
    assert asyncio.run(lab.design(brief="A reversion on EURUSD after stops were run, flat in strong trends.")).ok
    assert asyncio.run(lab.assess(subject(name="reversion_by_claude"))).ok
    sizes = [len(each.body) / 3.5 for each in anthropic_server.received]
    shares = [
        each.usage["cache_read_input_tokens"] / size
        for each, size in zip(anthropic_server.received, sizes, strict=True)
    ]
    first_message = anthropic_server.received[0].document["messages"][0]["content"][0]["text"]
    print(  # noqa: T201
        f"\ninput tokens {sum(sizes):.0f} ({', '.join(f'{size:.0f}' for size in sizes)}), "
        f"output {anthropic_server.total('output_tokens')}, cached {shares[1]:.0%} and {shares[2]:.0%}, "
        f"${anthropic_server.billed_usd:.4f}; {first_message.count('overreaction_after')} of 200 strategies told of"
    )
    assert first_message.count("overreaction_after") >= 10
    assert b"stretch oversold, trend weak, place below: p 0.60 (8%)" in anthropic_server.received[-1].body
    assert sum(sizes) <= 12_000
    assert min(shares[1:3]) >= 0.6
    assert anthropic_server.total("output_tokens") <= 4_000
    assert anthropic_server.billed_usd <= 0.06


@pytest.mark.parametrize(
    ("turns", "reason", "calls"),
    [
        ([faulty()] * 4, "invalid_tool_call", 4),
        ([faulty()] * 3 + [good()], "saved", 4),
        ([Answer([tool_use("drop_tables", {})]), good()], "saved", 2),
        ([Answer([tool_use("save_strategy_config", {"strategy": 3})])] * 4, "invalid_tool_call", 4),
        ([Answer(LOOK)] * 12, "max_turns", 12),
        ([Answer([], "refusal")], "refused", 1),
        ([Answer(LOOK), Answer([text("I will not.")], "refusal")], "refused", 2),
        ([Answer([text("So I thi")], "max_tokens")], "max_tokens", 1),
        ([Answer([tool_use("save_strategy_config", {})], "max_tokens")], "max_tokens", 1),
        ([Answer([text("...")], "model_context_window_exceeded")], "context_window", 1),
        ([Answer([text("Wait.")], "pause_turn"), Answer([text("Wait.")], "pause_turn"), good()], "saved", 3),
        ([Answer([text("I would rather not save.")])], "no_strategy", 1),
    ],
)
def test_what_was_answered_is_paid_for_whatever_it_was(laboratory, anthropic_server, turns, reason, calls):
    lab = laboratory(*turns)
    result = asyncio.run(lab.design())
    assert (result.reason, len(anthropic_server.received), len(lab.rows())) == (reason, calls, calls)
    assert lab.is_settled_as_billed(anthropic_server)
    assert result.ok == (reason == "saved")


FAR = {"retry-after": format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)}
NOW = {"retry-after": format_datetime(datetime.now(UTC), usegmt=True)}
OVERLOADED = Refusal(529, "overloaded_error")


@pytest.mark.parametrize(
    ("turns", "reason", "calls", "zeros"),
    [
        ([Refusal(401, "authentication_error")], "auth", 1, 1),
        ([Refusal(403, "permission_error")], "auth", 1, 1),
        ([Refusal(404, "not_found_error")], "model_not_found", 1, 1),
        ([Refusal(413, "request_too_large")], "provider_error", 1, 1),
        ([Refusal(400, "invalid_request_error")], "provider_error", 1, 1),
        ([Refusal(400, "invalid_request_error", "Your credit balance is too low")], "quota_exceeded", 1, 1),
        ([Refusal(429, "rate_limit_error", headers={"retry-after": "0.1"}), good()], "saved", 2, 1),
        ([Refusal(429, "rate_limit_error", headers={"retry-after": "0.1"})] * 2, "rate_limited", 2, 2),
        ([Refusal(429, "rate_limit_error", headers={"retry-after": "120"})], "rate_limited", 1, 1),
        ([Refusal(429, "rate_limit_error", headers=FAR)], "rate_limited", 1, 1),
        ([Refusal(429, "rate_limit_error", headers=NOW), good()], "saved", 2, 1),
        ([Refusal(429, "rate_limit_error")], "rate_limited", 1, 1),
        ([Refusal(402, "billing_error")], "quota_exceeded", 1, 1),
        ([Refusal(400, "invalid_request_error", "prompt is too long: 210000 tokens")], "context_window", 1, 1),
        ([OVERLOADED, good()], "saved", 2, 1),
        ([OVERLOADED] * 3, "overloaded", 3, 3),
        ([Answer(LOOK)] + [OVERLOADED] * 3, "overloaded", 4, 3),
    ],
)
def test_a_definite_rejection_costs_nothing(laboratory, anthropic_server, turns, reason, calls, zeros):
    lab = laboratory(*turns)
    result = asyncio.run(lab.design())
    assert (result.reason, len(anthropic_server.received)) == (reason, calls)
    assert lab.charges().count(0.0) == zeros
    assert lab.is_settled_as_billed(anthropic_server)
    assert anthropic_server.unexpected == 0


@pytest.mark.parametrize(
    ("turns", "reason", "kept"),
    [
        ([Refusal(500, is_billed=True)], "provider_error", 1),
        ([Refusal(502, is_billed=True)], "provider_error", 1),
        ([Refusal(504, is_billed=True)], "provider_error", 1),
        ([Hang()], "anthropic_timeout", 1),
        ([Hang(pings=True)], "anthropic_timeout", 1),
        ([Answer(LOOK), Hang()], "anthropic_timeout", 1),
        ([Raw(b"<html>maintenance</html>")], "bad_response", 1),
        ([Raw(b'{"ok": true}', "application/json")], "bad_response", 1),
        ([Raw(b'{"type": "message"', "application/json", cut=True)], "connection", 1),
        ([Answer(good().content, without_usage=True)], "bad_response", 1),
        ([Answer(good().content, usage={"input_tokens": 0, "output_tokens": 0})], "saved", 1),
        ([Answer(good().content, model="claude-from-the-future-9")], "saved", 1),
    ],
)
def test_an_unknown_outcome_keeps_the_whole_reservation(laboratory, anthropic_server, turns, reason, kept):
    lab = laboratory(*turns, KTRDR_AGENT_CALL_TIMEOUT_S=0.5)
    started = time.monotonic()
    result = asyncio.run(lab.design())
    assert time.monotonic() - started < 2.5
    assert (result.reason, len(anthropic_server.received)) == (reason, len(turns))
    assert lab.charges()[-kept:] == ["reserved"] * kept
    assert lab.charges().count("reserved") == kept
    assert lab.ledger.cycle_totals(CYCLE)[1] >= anthropic_server.billed_usd


def test_a_refused_connection_costs_nothing_and_reaches_nobody(desk):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        lab = Laboratory(desk, f"http://127.0.0.1:{probe.getsockname()[1]}")
    result = asyncio.run(lab.design())
    lab.database.close()
    assert (result.reason, lab.charges()) == ("connection", [0.0])


@pytest.mark.parametrize(
    ("second", "charge"),
    [(Hang(), "reserved"), (Refusal(429, "rate_limit_error", headers={"retry-after": "15"}), 0.0)],
    ids=["in a call", "in a back-off"],
)
def test_the_phase_has_an_end_of_its_own(laboratory, anthropic_server, second, charge):
    lab = laboratory(Answer(LOOK), second, KTRDR_AGENT_PHASE_TIMEOUT_S=0.8)
    result = asyncio.run(lab.design())
    assert (result.reason, lab.charges()[1], len(anthropic_server.received)) == ("phase_timeout", charge, 2)


def test_an_assessor_that_only_talks_has_assessed_nothing(laboratory):
    lab = laboratory(Answer([text("It is fine, I think.")]))
    result = asyncio.run(lab.assess(subject()))
    assert (result.ok, result.reason, result.turns) == (False, "no_assessment", 1)


@pytest.mark.parametrize(
    ("turns", "charges"),
    [
        ([Hang()], ["reserved"]),
        ([Refusal(429, "rate_limit_error", headers={"retry-after": "15"})], [0.0]),
    ],
    ids=["in a call", "in a back-off"],
)
def test_cancelling_closes_the_connection_within_a_second(laboratory, anthropic_server, turns, charges):
    lab = laboratory(*turns)

    async def cancel():
        task = asyncio.create_task(lab.design())
        while not anthropic_server.received:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        asked = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asked

    asked = asyncio.run(cancel())
    assert time.monotonic() - asked < 1
    time.sleep(0.2)
    if charges == ["reserved"]:
        assert anthropic_server.received[0].disconnected_at - asked < 1
    assert (lab.charges(), len(anthropic_server.received)) == (charges, 1)


def test_cancelling_in_a_tool_makes_no_further_call(laboratory, anthropic_server):
    lab = laboratory(Answer(STUDY), good())
    executor, entered, leave = lab.desk.executor(OPERATION), threading.Event(), threading.Event()
    executor.execute = slow(executor.execute, entered, leave)

    async def cancel():
        task = asyncio.create_task(lab.design(executor))
        while not entered.is_set():
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        leave.set()

    asyncio.run(cancel())
    assert len(anthropic_server.received) == 1
    assert lab.is_settled_as_billed(anthropic_server)


def slow(execute, entered, leave, tool="list_indicators"):
    """Make the first run of a tool wait for `leave`."""

    def wait(name, *arguments):
        if name == tool and not entered.is_set():
            entered.set()
            leave.wait(10)
        return execute(name, *arguments)

    return wait


def test_a_tool_that_hangs_is_given_up_and_the_model_goes_on(laboratory, anthropic_server):
    lab = laboratory(Answer(STUDY), good(), KTRDR_AGENT_TOOL_TIMEOUT_S=2)
    executor, leave = lab.desk.executor(OPERATION), threading.Event()
    executor.execute = slow(executor.execute, threading.Event(), leave)

    async def design():
        result = await lab.design(executor)
        leave.set()
        return result

    assert asyncio.run(design()).ok
    assert "took more than 2 s" in json.dumps(anthropic_server.received[1].document)


@pytest.mark.parametrize(
    ("following", "reason", "stored"),
    [
        (save(strategy_document("second_by_claude", timeperiod=40)), "saved", ["second_by_claude"]),
        (Answer([text("I give up.")]), "no_strategy", []),
        (Hang(), "cancelled", []),
    ],
    ids=["after another was saved", "after a failure", "after a cancellation"],
)
def test_a_save_that_was_given_up_stores_nothing_when_it_wakes_up(
    laboratory, anthropic_server, following, reason, stored
):
    lab = laboratory(good("first_by_claude"), following, KTRDR_AGENT_TOOL_TIMEOUT_S=2)
    executor, entered, leave = lab.desk.executor(OPERATION), threading.Event(), threading.Event()
    executor.execute = slow(executor.execute, entered, leave, "save_strategy_config")

    async def design():
        task = asyncio.create_task(lab.design(executor))
        if reason == "cancelled":
            while not entered.is_set():
                await asyncio.sleep(0.02)
            task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        leave.set()
        return "cancelled" if isinstance(ended, asyncio.CancelledError) else ended.reason

    assert asyncio.run(design()) == reason  # which waits for the thread that goes on
    assert lab.desk.strategies.names() == stored
    assert not any(lab.desk.attempts.iterdir())


def test_a_tool_that_breaks_leaks_nothing_of_why(laboratory, anthropic_server):
    lab = laboratory(Answer(STUDY), good())
    executor = lab.desk.executor(OPERATION)
    execute = executor.execute

    def break_down(name, *arguments):
        if name == "list_indicators":
            raise RuntimeError("postgresql://user:planted-password@host")
        return execute(name, *arguments)

    executor.execute = break_down
    assert asyncio.run(lab.design(executor)).ok
    told = json.dumps(anthropic_server.received[1].document)
    assert "RuntimeError" in told
    assert "planted-password" not in told


def test_nothing_is_sent_that_the_budget_does_not_hold(laboratory, anthropic_server):
    full = laboratory(good(), limits=(5.0, 0.01))
    assert asyncio.run(full.design()).reason == "budget_exceeded"
    assert (anthropic_server.received, full.rows()) == ([], [])


def test_a_budget_that_runs_out_on_the_way_ends_the_run_before_the_next_call(laboratory, anthropic_server):
    lab = laboratory(Answer(LOOK, usage={"input_tokens": 30_000, "output_tokens": 1}), good(), limits=(5.0, 0.12))
    assert asyncio.run(lab.design()).reason == "budget_exceeded"
    assert (len(anthropic_server.received), len(lab.rows())) == (1, 1)
    assert lab.is_settled_as_billed(anthropic_server)


def test_a_model_is_chosen_in_one_place(desk):
    def agent(**variables):
        return load_settings({"KTRDR_WORKSPACE": str(desk.workspace), **variables}).agent

    with_key = agent(ANTHROPIC_API_KEY=KEY)
    assert choose_model(None, agent()) == "offline"
    assert choose_model(None, with_key) == "claude-sonnet-5-5"
    assert [choose_model(each, with_key) for each in ("opus", "haiku")] == ["claude-opus-5-5", "claude-haiku-5-5"]
    assert choose_model("openai:llama3.3", agent(KTRDR_AGENT_OPENAI_IS_FREE="1")) == "openai:llama3.3"
    with pytest.raises(PricingUnknown):
        choose_model("openai:my-own-model", agent(OPENAI_API_KEY=KEY))
    with pytest.raises(PricingUnknown):
        choose_model("claude-from-the-future-9", with_key)
    for asked in ("sonnet", "gpt", "openai:"):
        with pytest.raises(InvalidInput) as refused:
            choose_model(asked, agent())
        assert refused.value.reason == "model_unavailable"
    assert KEY not in repr(with_key)


class ProcessDied(BaseException):
    """What passes by every handler, as the end of a process does."""


class DyingSteps(PlainSteps):
    """Dies when the first step that was not remembered yet, or the `after`th from there, is done but not remembered."""

    def __init__(self, remembered, after):
        super().__init__(remembered)
        self._dies_at = len(remembered) + after

    async def once(self, name, coroutine):
        if len(self.results) == self._dies_at:
            await coroutine()
            raise ProcessDied
        return await super().once(name, coroutine)


def test_no_call_is_paid_twice_whenever_a_process_dies_even_between_paying_and_remembering(
    laboratory, anthropic_server
):
    lab = laboratory(Answer(LOOK), faulty(), good())
    remembered, deaths, result = [], 0, None
    while result is None:  # every step is done twice: once for a process that died before it could remember it
        lab.steps = DyingSteps(remembered, after=min(deaths, 1))
        try:
            result = asyncio.run(lab.design(lab.desk.executor(OPERATION)))
        except ProcessDied:
            deaths, remembered = deaths + 1, lab.steps.results
    assert deaths == len(lab.steps.results) == 7  # a look around, three calls and their tools
    assert (result.ok, result.turns, len(anthropic_server.received), len(lab.rows())) == (True, 3, 3, 3)
    assert lab.is_settled_as_billed(anthropic_server)
    assert result.cost_usd == pytest.approx(anthropic_server.billed_usd)
    assert lab.desk.strategies.names() == ["reversion_by_claude"]
    lab.ledger.forget_answers(CYCLE)
    assert lab.ledger.paid_answer(OPERATION, 3) is None


def test_an_assessor_is_shown_everything_measured_and_can_change_none_of_it(laboratory, anthropic_server):
    opinion = {"judgement": "promising", "strengths": ["Sharpe 0.8"], "weaknesses": ["Few trades"], "suggestions": []}
    forged = [
        opinion | {"verdict": "candidate"},
        opinion | {"metrics": {"sharpe_ratio": 3.0}, "gates": []},
        opinion | {"judgement": "proven"},
    ]
    lab = laboratory(*(Answer([tool_use("save_assessment", each)]) for each in (*forged, opinion)))
    lab.desk.executor(OPERATION).execute("save_strategy_config", {"strategy": strategy_document("reversion_by_hand")})
    judged = subject(gates=(gate("training"), gate("backtest", reason="sharpe_below_threshold", bypassed=True)))
    assert asyncio.run(lab.assess(judged)).ok
    first, *later = (each.document["messages"] for each in anthropic_server.received)
    shown = json.loads(first[0]["content"][0]["text"])
    assert shown["training"]["accuracy"] == judged.training.accuracy
    assert len(shown["training"]["folds"]["accuracy"]) == len(judged.training.folds)
    assert shown["backtest"]["metrics"].items() >= {"sharpe_ratio": 0.8, "n_trades": 64, "costs_paid": 0.02}.items()
    assert {"baselines", "verdict", "costs"} <= shown["backtest"].keys()
    assert (shown["gates"], shown["design_cost_usd"]) == ([dict(each) for each in judged.gates], 0.01)
    told = [json.dumps(each[-1]) for each in later]
    assert "verdict: Extra inputs are not permitted" in told[0]
    assert "metrics: Extra inputs are not permitted" in told[1]
    assert "judgement: Input should be 'promising', 'mediocre' or 'poor'" in told[2]
    stored = lab.desk.strategies.read_json("reversion_by_hand", "assessment.json")
    assert (stored["judgement"], stored["verdict"]) == (
        "promising",
        judged.backtest.verdict.model_dump(mode="json"),
    )
    assert stored["metrics"].items() >= judged.backtest.metrics.model_dump(mode="json").items()
    assert stored["gates"] == [dict(each) for each in judged.gates]


def test_the_provider_prices_as_the_price_list_does(laboratory, anthropic_server):
    usage = {"input_tokens": 1000, "cache_creation_input_tokens": 5000, "cache_read_input_tokens": 9000}
    lab = laboratory(Answer(good().content, usage={**usage, "output_tokens": 700}), model="opus")
    result = asyncio.run(lab.design())
    assert result.cost_usd == pytest.approx(priced("claude-opus-5-5", {**usage, "output_tokens": 700}))
    assert result.input_tokens == 15_000
