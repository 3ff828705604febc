"""Jobs are sent after the commit; refreshes asked for within a moment are one job."""

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction

from labeling import jobs
from tests.conftest import Sent

pytestmark = pytest.mark.django_db


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], Any]]]:
    """What the timers would call, instead of timers that run."""
    started: list[Callable[[], Any]] = []

    class Timer:
        def __init__(self, seconds: float, call: Callable[[], Any]) -> None:
            assert 0 < seconds <= 60
            self.call = call

        def start(self) -> None:
            started.append(self.call)

    monkeypatch.setattr(threading, "Timer", Timer)
    monkeypatch.setattr(jobs, "GATHERED_SECONDS", 60)
    jobs._gathered.forget()
    yield started
    jobs._gathered.forget()


def refresh(*pair_ids: int) -> Sent:
    return [(jobs.REFRESH_PAIRS, {"pair_ids": list(pair_ids)})]


@pytest.mark.django_db(transaction=True)
def test_the_first_is_sent_at_once_and_what_follows_together(gathered: list[Callable[[], Any]], sent: Sent) -> None:
    jobs.refresh([3])
    assert sent == refresh(3)
    for pair_ids in ([9], [4, 9], [5]):
        jobs.refresh(pair_ids)
    assert sent == refresh(3), "they wait"
    assert len(gathered) == 1, "for one timer"
    gathered.pop()()
    assert sent == refresh(3) + refresh(4, 5, 9)
    jobs.refresh([3])
    gathered.pop()()
    assert sent[2:] == refresh(3), "the next waits again"


@pytest.mark.django_db(transaction=True)
def test_nothing_is_asked_for_that_was_rolled_back(gathered: list[Callable[[], Any]], sent: Sent) -> None:
    with transaction.atomic():
        jobs.refresh([3])
        transaction.set_rollback(True)
    assert sent == []
    jobs.refresh([4])
    assert sent == refresh(4)


@pytest.mark.django_db(transaction=True)
def test_a_forked_process_starts_anew(gathered: list[Callable[[], Any]], sent: Sent) -> None:
    for pair_id in (3, 4):
        jobs.refresh([pair_id])
    child = os.fork()
    if not child:
        jobs.refresh([5])
        os._exit(0 if sent == refresh(3) + refresh(5) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gathered.pop()()
    assert sent == refresh(3) + refresh(4)
