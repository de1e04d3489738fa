from core.clock import SECOND
from headrace.ratelimit import RateLimit, suffix


def test_first_then_once_per_interval_with_the_number_kept_back() -> None:
    limit = RateLimit(10 * SECOND)
    assert limit.allow("a", 0) == 0
    assert [limit.allow("a", at * SECOND) for at in (1, 5, 9)] == [None, None, None]
    assert limit.allow("b", 9 * SECOND) == 0
    assert limit.allow("a", 10 * SECOND) == 3
    assert limit.allow("a", 20 * SECOND) == 0


def test_the_number_of_keys_is_bounded() -> None:
    limit = RateLimit(10 * SECOND, max_keys=2)
    assert [limit.allow(key, 0) for key in "abc"] == [0, 0, 0]
    assert limit.allow("b", 1) is None
    assert limit.allow("a", 1) == 0


def test_all_keys_together_have_a_limit_too() -> None:
    limit = RateLimit(10 * SECOND, max_keys=5, max_lines=3)
    said = [key for key in range(1_000) if limit.allow(key % 20, 0) is not None]
    assert said == [0, 1, 2]
    assert limit.allow(3, 9 * SECOND) is None
    assert limit.allow("new", 10 * SECOND) == 0
    assert limit.allow("newer", 10 * SECOND) == 0
    assert limit.allow(3, 10 * SECOND) == 1
    assert limit.allow("newest", 10 * SECOND) is None


def test_suffix() -> None:
    assert suffix(0) == ""
    assert suffix(41) == " (41 more like this since the last line)"
