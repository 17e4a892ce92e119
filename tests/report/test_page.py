"""The page tells what the files beside the strategy say, to anybody, anywhere, and carries out nothing it was told."""

import asyncio
import dataclasses
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import httpx
import numpy as np
import polars as pl
import pytest
from planted_market import STRATEGY, import_planted

from ktrdr.api.app import close_app, create_app
from ktrdr.backtest.artifacts import write_backtest
from ktrdr.backtest.report import TrialHistory
from ktrdr.backtest.run import run_backtest
from ktrdr.cli.rules_report import rules_lines
from ktrdr.config import load_settings
from ktrdr.evaluation.verdict import reach_verdict
from ktrdr.market.costs import CostModel
from ktrdr.report.contents import gather_contents
from ktrdr.report.page import render_page, report_page
from ktrdr.strategy.store import StrategyStore
from ktrdr.training.artifacts import write_training
from ktrdr.training.predictions import read_predictions
from ktrdr.training.report import LearnedSet
from ktrdr.training.train import train_strategy

NAME = "undone_moves"
HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} & moves are undone."
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Every element with its attributes and the text in it, and whether all are closed in order."""

    def __init__(self, html):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "text": "", **dict(attributes)}
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append({"tag": tag, "text": "", **dict(attributes)})

    def handle_endtag(self, tag):
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, tag, **attributes):
        wanted = {"tag": tag, **attributes}
        return [each for each in self.elements if wanted.items() <= each.items()]

    def children_of(self, element, tag):
        """Return what follows an element up to the next of its kind."""
        start = self.elements.index(element) + 1
        kinds = [each["tag"] for each in self.elements[start:]]
        stop = kinds.index(element["tag"]) if element["tag"] in kinds else len(kinds)
        return [each for each in self.elements[start : start + stop] if each["tag"] == tag]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with one strategy, trained and backtested, about which a language model wrote the worst it could."""
    root = tmp_path_factory.mktemp("lab")
    store, strategies = import_planted(root), StrategyStore(root / "strategies")
    folder = strategies.folder(NAME)
    folder.mkdir(parents=True)
    text = STRATEGY.replace("A day's move is undone by the next one.", json.dumps(HOSTILE))
    (folder / "strategy.yaml").write_text(text)
    specification, bars = strategies.read(NAME), store.load_research("PLANTED", "1d")
    write_training(folder, train_strategy(specification, bars, seed=3, on_progress=lambda *_: None), bars)
    probability, fold = read_predictions(folder / "predictions.parquet", bars).by_bar(len(bars))
    outcome = run_backtest(specification, bars, probability, fold, CostModel(1.0, 2.0, 2.0), seed=3)
    verdict = reach_verdict(outcome, [0.0] * 5, TrialHistory(n_trials=4), seed=3)
    write_backtest(folder, outcome.with_verdict(verdict))
    assessment = {
        "judgement": "poor",
        "strengths": [HOSTILE],
        "weaknesses": [],
        "suggestions": [],
        "model": HOSTILE,
        "operation_id": "op",
        "created_at": "2026-01-01",
        "gates": [],
    }
    (folder / "assessment.json").write_text(json.dumps(assessment))
    return dataclasses.make_dataclass("Laboratory", ["root", "folder", "strategies", "bars", "research"])(
        root, folder, strategies, store, bars
    )


@pytest.fixture(scope="module")
def html(workspace):
    return report_page(workspace.strategies, workspace.bars, NAME)


def test_figures_are_those_of_the_files_to_the_last_digit(workspace, html):
    page, report = Page(html), json.loads((workspace.folder / "backtest.json").read_text())
    shown = {}
    for cell in (each for each in page.elements if each.get("id", "").startswith("metric-")):
        (number,) = page.children_of(cell, "data")
        shown[cell["id"].removeprefix("metric-")] = float(number["value"])
        said = number["text"].replace("\N{MINUS SIGN}", "-")
        rounded = float(said.rstrip("%")) / (100 if said.endswith("%") else 1)
        assert rounded == pytest.approx(float(number["value"]), abs=0.051 / (100 if said.endswith("%") else 1))
    assert shown == {key: value for key, value in report["metrics"].items() if key != "sharpe_ci95"}
    assert page.all("h2")[0]["text"] == f"Verdict: {report['verdict']['value']}"
    values = [each["value"] for each in page.all("data")]
    for exact in (
        report["verdict"]["psr"],
        report["baselines"]["buy_and_hold"]["total_return"],
        report["baselines"]["random_entry"]["p_value"],
        report["costs"]["slippage_bps"],
        json.loads((workspace.folder / "training.json").read_text())["nulls"]["circular_shifts"]["accuracy_p95"],
    ):
        assert repr(exact) in values
    for hash_shown in (report["window"]["snapshot"], workspace.strategies.read(NAME).sha256()):
        assert hash_shown in html


def test_the_equity_drawn_is_the_equity_stored_where_it_begins_ends_and_turns(workspace, html):
    page = Page(html)
    (chart,) = [each for each in page.all("svg") if "equity-title" in each["aria-labelledby"]]
    stored = pl.read_parquet(workspace.folder / "equity.parquet")
    labels = [each for each in page.children_of(chart, "text") if each["class"] == "label value"]
    height, value = (
        np.array(column)
        for column in zip(*((float(e["y"]) - 4, float(e["text"].replace(",", ""))) for e in labels), strict=True)
    )
    slope, offset = np.polyfit(height, value, 1)
    half_a_pixel_mark = abs(slope) * 0.02
    for style, column in (("curve equity", "equity"), ("curve held", "buy_and_hold")):
        (path,) = [each for each in page.children_of(chart, "path") if each["class"] == style]
        drawn = offset + slope * np.array([float(y) for y in re.findall(r" ([\d.]+)", path["d"])])
        curve = stored[column].to_numpy()
        expected = [curve[0], curve[-1], curve.min(), curve.max()]
        assert [drawn[0], drawn[-1], drawn.min(), drawn.max()] == pytest.approx(expected, abs=half_a_pixel_mark)
    text = next(each["text"] for each in page.all("desc") if each["id"] == "equity-text")
    assert f"to {stored['equity'][-1]:,.2f} between" in text
    assert f"lowest {stored['equity'].min():,.2f} on" in text


def test_trades_and_candles_are_of_the_blocks_and_never_of_sealed_bars(workspace, html):
    page, trades = Page(html), pl.read_parquet(workspace.folder / "trades.parquet")
    for fold in range(1, 6):
        (chart,) = [each for each in page.all("svg") if f"trades-{fold}-title" in each["aria-labelledby"]]
        drawn = "".join(each["d"] for each in page.children_of(chart, "path") if each["class"].startswith("entry"))
        assert drawn.count("z") == trades.filter(pl.col("fold") == fold).height
    last = np.datetime64(int(workspace.research.timestamp[-1]), "ms").astype("datetime64[D]")
    assert max(np.datetime64(each) for each in re.findall(r"20\d\d-\d\d-\d\d", html) if each < "2026") <= last


def test_the_page_needs_nothing_else_and_carries_out_nothing_it_was_told(html):
    page = Page(html)
    assert not page.all("script")
    assert not page.all("img")
    assert not page.all("link")
    assert not [key for each in page.elements for key in each if key.startswith("on") or key in ("src", "href")]
    assert not re.search(r"https?://|//\w|url\(|@import", html.replace("http://www.w3.org/2000/svg", ""))
    assert sum(each["text"] == HOSTILE for each in page.elements if each["tag"] in ("p", "li")) == 2
    assert len(html) < 1_000_000


def test_charts_are_described_and_tables_have_headings(html):
    page = Page(html)
    ids = {each.get("id") for each in page.elements}
    charts = page.all("svg")
    assert len(charts) == 2 + 5 + 1  # equity and drawdown, the blocks, the fuzzy variable
    for chart in charts:
        assert (chart["role"], set(chart["aria-labelledby"].split()) <= ids) == ("img", True)
    for table in page.all("table"):
        assert page.children_of(table, "caption")
        assert {each["scope"] for each in page.children_of(table, "th")} <= {"row", "col"}
    levels = [int(each["tag"][1]) for each in page.elements if re.fullmatch(r"h[1-6]", each["tag"])]
    assert levels[0] == 1
    assert max(np.diff(levels)) == 1


def test_the_route_keeps_the_page_beside_the_strategy_and_the_command_opens_it(workspace, html, tmp_path):
    app = create_app(load_settings({"KTRDR_WORKSPACE": str(workspace.root)}))

    async def ask(path):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
            return await http.get(f"/api/v1/strategies/{path}")

    answer, none = asyncio.run(ask(f"{NAME}/report")), asyncio.run(ask("undone_move/report"))
    close_app(app)
    assert (answer.text, answer.headers["content-type"]) == (html, "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert (none.status_code, none.json()["reason"]) == (404, "unknown_strategy")
    stored = workspace.folder / "report.html"
    assert stored.read_text() == html

    stored.write_text("of an earlier day")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KTRDR_")}
    done = subprocess.run(
        [sys.executable, "-m", "ktrdr.cli", "strategies", "show", NAME, "--open"],
        env={**environment, "KTRDR_WORKSPACE": str(workspace.root), "BROWSER": f"{browser} %s"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(stored)), done.stderr
    assert (tmp_path / "opened").read_text() == stored.as_uri()
    assert stored.read_text() == html


def test_a_refused_cycle_has_its_page_with_the_gate_and_why_below_the_verdict(workspace):
    refused = {"gate": "backtest", "reason": "drawdown_too_high", "observed": 0.47, "threshold": 0.4, "passed": False}
    cycle = {
        "operation_id": "op",
        "reason": "gate_failed:backtest:drawdown_too_high",
        "message": "the backtest gate refuses drawdown_too_high; lower risk.sizing <b>",
        "gates": [{**refused, "profile": "default", "bypassed": False}],
    }
    usage = {"input_tokens": 1200, "output_tokens": 30, "cache_read_tokens": 4, "cost_usd": 0.0125, "model": "opus"}
    contents = gather_contents(workspace.strategies, workspace.bars, NAME)
    assessed = {**contents.assessment, **usage}
    page = Page(render_page(dataclasses.replace(contents, cycle=cycle, assessment=None)))
    assert [each["text"] for each in page.all("h2")[1:2]] == ["A gate refused it"]
    assert "The backtest gate refuses drawdown_too_high; lower risk.sizing <b>." in [e["text"] for e in page.all("p")]
    (table,) = page.all("table", id="gates")
    assert [each["text"] for each in page.children_of(table, "td")] == ["drawdown too high", "0.470", "0.40", "default"]
    bypassed = {**cycle, "reason": None, "gates": [{**refused, "profile": "default", "bypassed": True}]}
    design = {**usage, "prompt_version": "1", "created_at": "2026", "parent_strategies": [], "notes": None}
    design |= {"operation_id": None, "after_exam": False}
    page = Page(render_page(dataclasses.replace(contents, cycle=bypassed, assessment=assessed, design=design)))
    assert "The backtest gate refused it (drawdown too high) and was bypassed." in [e["text"] for e in page.all("p")]
    (table,) = page.all("table", id="usage")
    numbers = [each["text"] for each in page.children_of(table, "data")]
    assert numbers == [*["1,200", "30", "4", "0.0125"] * 2, "2,400", "60", "8", "0.0250"]


def test_rules_are_the_sentences_that_the_terminal_prints(workspace, html):
    told = " ".join(each["text"] for each in Page(html).elements if each["tag"] in ("th", "p", "caption"))
    printed = list(rules_lines(json.loads((workspace.folder / "training.json").read_text())))
    for line in printed[1:]:
        sentence = re.sub(r" +\([\d.]+% of rows\)$", "", line.rstrip(":")).strip()
        assert sentence in told
    contents = gather_contents(workspace.strategies, workspace.bars, NAME)
    sets = [LearnedSet(name="change.down", plateau=(None, 1.0), half=(None, 1.25), half_before=(None, 1.5))]
    rule = contents.training.rules.rules[0].model_copy(update={"bias": 0.25, "slopes": {"change": -0.5}})
    rules = contents.training.rules.model_copy(update={"source": "network", "sets": sets, "rules": [rule]})
    training = contents.training.model_copy(update={"rules": rules})
    page = Page(render_page(dataclasses.replace(contents, training=training)))
    (learned,) = page.all("table", id="learned-sets")
    assert [each["text"] for each in page.children_of(learned, "td")] == ["below 1.25", "below 1.5"]
    (table,) = page.all("table", id="rules")
    assert page.children_of(table, "td")[1]["text"] == "+0.25 -0.50 change"


def test_what_is_missing_is_said(workspace):
    (workspace.strategies.path("untouched_idea")).mkdir()
    (workspace.strategies.path("untouched_idea") / "strategy.yaml").write_text(
        STRATEGY.replace("undone_moves", "untouched_idea")
    )
    html = report_page(workspace.strategies, workspace.bars, "untouched_idea")
    for said in ("No verdict yet", "It has not been trained.", "It has not been assessed.", "None yet"):
        assert said in html
    Page(html)
    damaged = workspace.folder / "equity.parquet"
    kept = damaged.read_bytes()
    damaged.write_bytes(kept[:100])
    html = report_page(workspace.strategies, workspace.bars, NAME)
    damaged.write_bytes(kept)
    assert "backtest the strategy again" in html
    assert "Verdict: " in html
