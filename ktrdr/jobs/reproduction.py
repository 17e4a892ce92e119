"""`python -m ktrdr.jobs.reproduction`: do a strategy's work again in a process bound to its worker."""

from ktrdr.operations.job_child import serve_job

if __name__ == "__main__":
    serve_job("ktrdr.jobs.reproduction_job:reproduce")
