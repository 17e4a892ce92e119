"""What an exam is, would be, or came to, in words for a person."""

from collections.abc import Iterator

from ktrdr.cli.output import MISSING, figure, table_lines
from ktrdr.schemas.vault import ExamDocument, ExamProspect, KnowledgeDocument

_ASSUMPTIONS = {
    "measured": "as its backtest showed, which flatters: it was chosen for that",
    "lower_end": "the lower end of the backtest's interval",
    "round": "",
}
_REASONS = {"no_trades": "it did not trade", "below_the_bar": "below the bar", "passed": "above the bar"}


def exam_lines(exam: ExamDocument | None, *, after_exam: bool) -> list[str]:
    """Return what an exam came to, and whether the strategy was stored after a look at its bars."""
    lines = [""] if exam is not None or after_exam else []
    if exam is not None:
        lines += [*_outcome_lines(exam)]
    if after_exam:
        lines.append("AFTER AN EXAM: somebody had looked at this instrument's sealed bars before it was stored.")
    return lines


def prospect_lines(prospect: ExamProspect) -> list[str]:
    """Return what an exam would be, before anybody looks."""
    rows = [
        (figure(each.sharpe_ratio), figure(each.power, ".0%"), _ASSUMPTIONS[each.assumption])
        for each in prospect.powers
    ]
    return [
        f"The exam of {prospect.strategy}: look {prospect.look} of this workspace at sealed bars.",
        f"  sealed: {prospect.sealed_bars} bars, {prospect.sealed_first:%Y-%m-%d} to {prospect.sealed_last:%Y-%m-%d} "
        f"({prospect.sealed_years:.1f} years)",
        f"  passed if the Sharpe ratio there is above zero with probability {_precise(prospect.required_psr)} or more, "
        "net and less its market part",
        f"  {_knowledge_words(prospect.knowledge)}",
        *(["  its instrument's sealed bars were looked at before"] if prospect.after_exam else []),
        "",
        "How likely it passes, by its true Sharpe ratio, which nobody knows:",
        *(f"  {line}" for line in table_lines(("sharpe", "power", ""), rows)),
        "",
        "There is one exam, whatever it shows, and every look raises the bar of the next.",
    ]


def exam_rows(exams: list[ExamDocument]) -> list[tuple[str, ...]]:
    """Return the rows of a table of exams."""
    return [
        (
            str(exam.look),
            exam.strategy,
            exam.status.replace("_", " "),
            MISSING if exam.psr is None else _precise(exam.psr),
            _precise(exam.required_psr),
            figure(exam.sharpe_ratio),
            figure(exam.n_trades, "d"),
            MISSING if exam.first is None or exam.last is None else f"{exam.first:%Y-%m-%d} to {exam.last:%Y-%m-%d}",
        )
        for exam in exams
    ]


def _outcome_lines(exam: ExamDocument) -> Iterator[str]:
    if exam.status == "open":
        yield f"Exam: look {exam.look} was opened and has not ended ({exam.operation_id})."
        return
    word = "PROVEN: it passed its exam" if exam.status == "passed" else "NOT PROVEN: it did not pass its exam"
    first, last = (f"{each:%Y-%m-%d}" if each else MISSING for each in (exam.first, exam.last))
    yield f"{word} on sealed bars, {first} to {last} (look {exam.look})."
    psr = MISSING if exam.psr is None else _precise(exam.psr)
    yield (
        f"  Sharpe ratio {figure(exam.sharpe_ratio)} on {figure(exam.n_trades, 'd')} trades, above zero with "
        f"probability {psr}, {_precise(exam.required_psr)} are needed: {_REASONS.get(str(exam.reason), exam.reason)}"
    )
    if exam.knowledge is not None:
        yield f"  {_knowledge_words(exam.knowledge)}"
    if exam.strategy:
        yield f"  held as {exam.strategy}; everything is in {exam.report}"


def _knowledge_words(knowledge: KnowledgeDocument) -> str:
    designer = knowledge.designer or "nobody recorded"
    match knowledge.standing:
        case "no_llm":
            return "designed without a language model, which could have read of these years"
        case "unknown":
            return f"designer: {designer}; whether it had read of these years is not known"
        case "after_cutoff":
            return f"{designer} had read nothing after {knowledge.cutoff}, before the sealed bars begin"
        case "partly_before_cutoff":
            return f"SOME OF THESE YEARS WERE NO SECRET to {designer}: it may have read until {knowledge.cutoff}"
    return f"THESE YEARS WERE NO SECRET to {designer}: it may have read until {knowledge.cutoff}"


def _precise(probability: float) -> str:
    return f"{probability:.2%}"
