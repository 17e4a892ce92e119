"""Who is served when: a queue with one server, simulated."""

from itertools import pairwise

from ktrdr.operations.turns import Turn, next_turn


def serve(n_cycles, asked_at):
    """Return who is served in 60 rounds: cycles that always have a next phase, and trainings asked for meanwhile."""
    waiting, served = [], []  # of (turn, arrival, who)

    def arrive(who, *, is_child):
        present = [Turn(turn, name.startswith("cycle")) for turn, _, name in waiting]
        waiting.append((next_turn(present, is_child=is_child), len(served) + len(waiting), who))

    for cycle in range(n_cycles):
        arrive(f"cycle {cycle}", is_child=True)
    for now in range(60):
        for number in range(asked_at.get(now, 0)):
            arrive(f"training {now}.{number}", is_child=False)
        if not waiting:
            continue
        first = min(waiting)
        served.append(first[2])
        if first[2].startswith("cycle"):
            arrive(first[2], is_child=True)  # asked for while it is still in the queue: it runs
        waiting.remove(first)
    return served


def test_cycles_take_turns_with_a_crowd_of_trainings_and_neither_starves():
    served = serve(3, {5: 20})
    for cycle in range(3):
        at = [index for index, who in enumerate(served) if who == f"cycle {cycle}"]
        assert max(b - a for a, b in pairwise(at)) <= 5
    trainings = [index for index, who in enumerate(served) if who.startswith("training")]
    assert [served[index] for index in trainings] == [f"training 5.{number}" for number in range(len(trainings))]
    assert max(b - a for a, b in pairwise(trainings)) <= 5


def test_alone_each_kind_is_served_as_it_came():
    assert serve(0, {0: 4, 2: 2})[:6] == [
        "training 0.0",
        "training 0.1",
        "training 0.2",
        "training 0.3",
        *(f"training 2.{number}" for number in range(2)),
    ]
    assert serve(2, {})[:4] == ["cycle 0", "cycle 1"] * 2
