import signal
import sys
import threading
import time

import pytest

from landmark_ray.runtime import interrupts


def test_interrupt_waits_for_the_end():
    done = False
    with pytest.raises(KeyboardInterrupt), interrupts.held():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done = True
    assert done
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_error_in_the_context_goes_before_an_interrupt():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="no ray"), interrupts.held():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("no ray")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_hold_nothing():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with interrupts.held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_an_interrupt_that_is_lost_while_an_object_is_deleted_comes_again(monkeypatch, capsys):
    class Interrupted:
        def __del__(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    interrupts.keep()
    with pytest.raises(KeyboardInterrupt):
        Interrupted()
        time.sleep(10)
    assert not capsys.readouterr().err


def test_other_errors_that_are_lost_are_still_printed(monkeypatch):
    class Broken:
        def __del__(self):
            raise ValueError("broken")

    printed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: printed.append(str(lost.exc_value)))
    interrupts.keep()
    Broken()
    assert printed == ["broken"]
