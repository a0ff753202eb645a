import os
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc

from galley.synthesize.journal import Journal


def counted(done):
    def work(jobs):
        for job in jobs:
            done.append(job)
            yield str(job * job)

    return work


def test_results_come_in_order_and_nothing_runs_twice(tmp_path):
    done = []
    jobs = [(f"k{n % 7}", n % 7) for n in range(40)]
    with Journal(tmp_path / "j") as journal:
        first = list(journal.run(jobs, counted(done), chunk=5))
    assert first == [(n, str(n * n)) for _, n in jobs] and sorted(done) == list(range(7))
    with Journal(tmp_path / "j") as journal:
        assert list(journal.run(reversed(jobs), counted(done))) == first[::-1] and len(journal) == 7
    assert len(done) == 7


def test_a_killed_run_goes_on_without_a_finished_job(tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from galley.synthesize.journal import Journal

        def work(jobs):
            for job in jobs:
                with open(sys.argv[2], "a") as log:
                    log.write(f"{job}\\n")
                time.sleep(0.01)
                yield str(job)

        with Journal(Path(sys.argv[1])) as journal:
            print(sum(int(r) for _, r in journal.run(((str(n), n) for n in range(150)), work, chunk=50)))
    """)
    command = [sys.executable, "-c", script, str(tmp_path / "j"), str(tmp_path / "log")]
    child = subprocess.Popen(command, env=os.environ)
    log = tmp_path / "log"
    while not log.exists() or len(log.read_text().splitlines()) < 40:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = len(log.read_text().splitlines())
    out = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True).stdout
    lines = log.read_text().splitlines()
    assert int(out) == sum(range(150)) and kept < 150
    assert len(lines) - len(set(lines)) <= 1, "at most the job that was cut down ran again"


def test_memory_does_not_grow_with_the_jobs(tmp_path):
    def work(jobs):
        yield from ("x" * 1000 for _ in jobs)

    peaks = []
    for n in (300, 6000):
        with Journal(tmp_path / str(n)) as journal:
            tracemalloc.start()
            assert sum(1 for _ in journal.run(((str(i), i) for i in range(n)), work, chunk=64)) == n
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
