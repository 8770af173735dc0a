"""`refusal-lens explore`: its arguments, what is missing, and that it opens and ends."""

import sys

from support.command import run

from refusal_lens.explorer import opening


class Opened:
    """In place of an explorer: ended by the user at once."""

    url = "http://127.0.0.1:1/"

    def __init__(self) -> None:
        self.ended = False

    def wait(self) -> None:
        raise KeyboardInterrupt

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *error: object) -> None:
        self.ended = True


def test_a_missing_extra_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "starlette", None)
    done = run("explore", "nowhere", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "pip install 'refusal-lens[explorer]'" in done.stderr


def test_a_folder_that_is_no_run_is_one_line(tmp_path):
    done = run("explore", "nowhere", cwd=tmp_path)
    assert done.returncode == 2 and "'nowhere' is not a run folder" in done.stderr
    done = run("explore", "--model", "smollm2-planted", cwd=tmp_path)
    assert done.returncode == 2 and "smollm2-planted" in done.stderr


def test_it_says_where_the_page_is_and_ends_at_ctrl_c(monkeypatch, tmp_path):
    from support.examples import write_run

    import refusal_lens.explorer

    results, opened, asked = write_run(tmp_path / "run"), Opened(), []

    def open_run(results, **options) -> Opened:
        asked.append((results.folder, options))
        return opened

    monkeypatch.setattr(refusal_lens.explorer, "explore_run", open_run)
    monkeypatch.setattr(opening, "require_server", lambda: None)
    done = run("explore", str(results.folder), "--port", "8123")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines() == ["explorer: http://127.0.0.1:1/ (Ctrl+C ends it)", "ended"]
    ((folder, options),) = asked
    assert folder == results.folder and options["port"] == 8123 and options["model"] is None
    assert opened.ended
