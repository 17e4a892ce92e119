"""Leases of one machine: locks on files, whatever stands in them."""

from ktrdr.operations.leases import FileLeases, live_workers


def test_a_living_worker_whose_lease_file_is_damaged_is_not_taken_for_dead(tmp_path):
    leases = FileLeases(tmp_path)
    first, second = (leases.lease(["cycles"], on_lost=lambda: None) for _ in range(2))
    damaged = tmp_path / "workers" / "1.lock"
    for words in (b"", b"{}", b"[1]", b"\0\xff{"):
        damaged.write_bytes(words)
        assert second.gone({first.executor_id, second.executor_id, "worker-7-00000000"}) == {"worker-7-00000000"}
        assert [worker.executor_id for worker in live_workers(leases)] == [second.executor_id]
    first.release()
    assert second.gone({first.executor_id}) == {first.executor_id}
    second.release()
