import os
import time

from galley.clock import no_later_than_now


def test_files_of_the_future_are_of_now_and_others_keep_their_time(tmp_path):
    (tmp_path / "a").mkdir()
    for name, shift in (("a/future", 7200), ("a/past", -7200), ("link", 0)):
        path = tmp_path / name
        path.symlink_to("nowhere") if name == "link" else path.write_text(name)
        os.utime(path, (time.time() + shift,) * 2, follow_symlinks=False)
    past = (tmp_path / "a/past").stat().st_mtime
    no_later_than_now(tmp_path)
    assert (tmp_path / "a/future").stat().st_mtime <= time.time()
    assert (tmp_path / "a/past").stat().st_mtime == past
    no_later_than_now(tmp_path / "not there")
