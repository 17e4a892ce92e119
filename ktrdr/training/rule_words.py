"""What a model has learned, in the words that the terminal and the page share."""

from ktrdr.training.report import Edges, Fidelity, Rule, RulesReport

_SOURCES = {
    "network": "as the network has learned them; each speaks in proportion to how much it applies",
    "surrogate": "of a tree that was fitted to the network's answers",
}
SETS_HEADING = "Sets as learned, where the membership is above one half"


def rules_heading(report: RulesReport) -> str:
    """Return where the rules come from."""
    return f"Rules, {_SOURCES[report.source]}"


def fidelity_words(fidelity: Fidelity) -> str:
    """Return how far the rules tell what the network says."""
    r_squared = "-" if fidelity.r_squared is None else f"{fidelity.r_squared:.2f}"
    return (
        f"On {fidelity.rows} validation rows these sentences take the network's side in {fidelity.agreement:.1%} "
        f"(always saying its commoner side: {fidelity.commoner_side:.1%}); R² of its p {r_squared}."
    )


def range_words(edges: Edges) -> str:
    """Return which values lie between two edges of an input."""
    lower, upper = (None if each is None else f"{each:.4g}" for each in edges)
    if lower is None:
        return "everywhere" if upper is None else f"below {upper}"
    return f"above {lower}" if upper is None else f"{lower} to {upper}"


def consequent_words(rule: Rule) -> str:
    """Return what a network's own rule says as its log-odds; "" for a rule that is none of its own."""
    if rule.bias is None or rule.slopes is None:
        return ""
    return f"{rule.bias:+.2f}" + "".join(f" {slope:+.2f} {name}" for name, slope in rule.slopes.items())
