"""`python -m ktrdr.jobs.exam`: hold an exam in a process bound to its worker from the first moment."""

from ktrdr.operations.job_child import serve_job

if __name__ == "__main__":
    serve_job("ktrdr.jobs.exam_job:examine")
