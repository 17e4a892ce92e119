"""`python -m ktrdr.jobs.sweep`: backtest variants of a strategy in a process bound to its worker from the first."""

from ktrdr.operations.job_child import serve_job

if __name__ == "__main__":
    serve_job("ktrdr.jobs.sweep_job:sweep")
