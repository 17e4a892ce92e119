"""`ktrdr agent schedule` where no server runs."""

import pytest


def test_schedule_is_told_what_it_needs_and_shown_in_local_time_and_utc(ktrdr):
    made = ktrdr("agent", "schedule", "--cron", "0 22 * * 1-5", "--timezone", "America/New_York", "--name", "nightly")
    assert made.code == 0
    assert "cron '0 22 * * 1-5' in America/New_York" in made.stdout
    assert ":00:00 UTC)" in made.stdout
    assert "only a worker starts cycles" in made.stderr
    listed = ktrdr("agent", "schedule", "list", "--json")
    (schedule,) = listed.document["schedules"]
    assert (schedule["state"], schedule["timezone"]) == ("scheduled", "America/New_York")
    assert ktrdr("agent", "schedule", "pause", "nightly", "--json").document["reason"] == "paused_by_user"
    assert "paused since" in ktrdr("agent", "schedule", "list").stdout
    assert "scheduled" in ktrdr("agent", "schedule", "resume", schedule["schedule_id"]).stdout
    assert ktrdr("agent", "schedule", "remove", "nightly").stdout == "nightly removed\n"
    assert "there is no schedule" in ktrdr("agent", "schedule", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--cron", "0 25 * * *"], 2, "field 2 (hour, character 3)"),
        (["--every", "30s"], 2, "such as 30m, 2h or 1d"),
        (["--every", "1h", "--cron", "0 * * * *"], 2, "one of every"),
        (["--name", "nightly"], 2, "need --every"),
        (["--every", "1h", "list"], 2, "--every before 'list'"),
        (["pause", "nigthly"], 4, "no schedule 'nigthly'"),
        (["lits"], 2, "Did you mean 'list'?"),
    ],
)
def test_mistyped_schedule_is_told_what_was_meant(ktrdr, arguments, code, words):
    ended = ktrdr("agent", "schedule", *arguments)
    assert ended.code == code
    assert words in ended.stderr
    assert ended.stdout == ""
