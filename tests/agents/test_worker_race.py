"""Three real workers on one database never let the provider bill more than the day allows. `make budget-race`: more."""

import pytest
from worker_race import check, race_both


@pytest.mark.usefixtures("sample_bars")
def test_cycles_on_three_workers_are_billed_less_than_the_limit_and_a_naive_control_more(tmp_path, bars_folder):
    check(*race_both(tmp_path, bars_folder, cycles_each=5))
