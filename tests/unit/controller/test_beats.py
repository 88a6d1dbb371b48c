"""For how long an attempt has stood still, and when nobody can know."""

from collabspace.controller.beats import MAX_GAP_SECONDS, Beats


def beating() -> Beats:
    """An attempt that moved last at second 10, with the feed heard from second 0 to 40."""
    beats = Beats()
    for now in (0, 10, 40):
        beats.heard(now)
        beats.tell("uid", 1, 1 if now < 10 else 2, now)
    return beats


def test_time_without_a_new_beat_is_counted_up_to_the_feeds_last_answer() -> None:
    beats = beating()
    assert beats.still("uid", 1) == 30
    beats.heard(70)
    assert beats.still("uid", 1) == 60
    beats.tell("uid", 1, 3, 70)
    assert beats.still("uid", 1) == 0


def test_nothing_is_known_of_an_attempt_without_a_beat_or_while_the_feed_is_away() -> None:
    beats = beating()
    assert beats.still("uid", 2) is None
    beats.lost()
    assert beats.still("uid", 1) is None


def test_time_in_which_the_feed_was_away_does_not_count() -> None:
    beats = beating()
    beats.lost()
    beats.heard(1000)
    assert beats.still("uid", 1) == 0
    beats.heard(1030)
    assert beats.still("uid", 1) == 30


def test_an_operator_that_was_frozen_counts_anew() -> None:
    beats = beating()
    beats.heard(41 + MAX_GAP_SECONDS)
    assert beats.still("uid", 1) == 0


def test_a_task_that_is_gone_is_forgotten() -> None:
    beats = beating()
    beats.forget("uid")
    assert beats.still("uid", 1) is None
