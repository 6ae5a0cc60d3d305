import signal
import threading

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
