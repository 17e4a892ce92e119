# Everything runs in .venv of this checkout; the first target that needs it makes it.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo
OTHER_BENCHES := data llm_overhead metrics operations tracing

.PHONY: demo test test-slow check fuzz bench bench-targets bench-growth bench-honesty dashboards budget-race chaos clean

## demo: install, make a workspace with the bundled samples, run cycles until one passes both gates (at most five)
demo: .venv/.runtime
	@mkdir -p $(DEMO)
	$(BIN)/ktrdr --workspace $(DEMO) data samples
	$(BIN)/ktrdr --workspace $(DEMO) agent trigger --designer offline --until-completed 5

## test: install and run every test, one file after the other in each of three processes: much of it waits
test: .venv/.dev
	$(BIN)/pytest --numprocesses 3 --dist loadfile

## test-slow: simulations of coverage, uniformity and skill that take minutes
test-slow: .venv/.dev
	$(BIN)/pytest -m slow --timeout 3600

## check: style, types, floors and shape
check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q tests/test_shape.py

## fuzz: send many made-up requests to every route and hold the answers against the API's own schema (minutes)
fuzz: .venv/.dev
	$(BIN)/pytest tests/api/test_api_schema.py --hypothesis-profile=thorough --timeout=1800

## bench: every measurement, then the table of targets beside named peers; fails where a target is missed
bench: .venv/.dev
	@missed=; for name in $(OTHER_BENCHES); do $(BIN)/python benchmarks/bench_$$name.py || missed="$$missed $$name"; done; \
	$(MAKE) --no-print-directory bench-growth || missed="$$missed growth"; \
	$(MAKE) --no-print-directory bench-targets || missed="$$missed targets"; \
	test -z "$$missed" || { echo "missed:$$missed" >&2; exit 1; }

## bench-targets: the table of targets alone (minutes), INTO=docs/speed.md writes it there; peers that contradict our lock
##   get an environment of their own
bench-targets: .venv/.dev
	@$(MAKE) --no-print-directory .venv-peers/.made || echo "peers not installed: their rows are not measured" >&2
	$(BIN)/python -m benchmarks.targets $(if $(INTO),--into $(INTO))

## bench-growth: how a backtest's time grows with bars, symbols and variants; draws docs/growth.svg (half a minute)
bench-growth: .venv/.dev
	$(BIN)/python -m benchmarks.growth --plot docs/growth.svg

## bench-honesty: how often luck is called an edge, and how often an edge is seen; writes docs/honesty.md (half an hour)
bench-honesty: .venv/.dev
	$(BIN)/python -m benchmarks.honesty $(HONESTY)

## dashboards: write the dashboards and alerts that Grafana reads
dashboards: .venv/.dev
	$(BIN)/python deploy/grafana/make_dashboards.py

## budget-race: sixty cycles on three workers, on SQLite and PostgreSQL, against a small daily limit, and the control
budget-race: .venv/.dev
	$(BIN)/pytest -q -s tests/agents/full_race.py

## chaos: rounds of injected faults from a printed seed (KTRDR_CHAOS_SEED, KTRDR_CHAOS_ROUNDS), and longer sieges (an hour)
chaos: .venv/.dev
	$(BIN)/pytest -m chaos tests/chaos

clean:
	rm -rf .venv .venv-peers $(DEMO) build *.egg-info

.venv/.runtime: requirements/runtime.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/runtime.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

.venv/.dev: .venv/.runtime requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@touch $@

.venv-peers/.made: requirements/peers.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check -r requirements/peers.txt
	@touch $@
