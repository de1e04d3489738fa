"""The public door is complete, sorted and opens."""

import headrace.api


def test_the_names_are_sorted_and_there() -> None:
    names = headrace.api.__all__
    constants = [name for name in names if name.isupper()]
    classes = [name for name in names if not name.isupper()]
    assert names == sorted(constants) + sorted(classes)
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(headrace.api, name)] == []


def test_nothing_else_is_public() -> None:
    public = {name for name in vars(headrace.api) if not name.startswith("_")} - {"annotations"}
    assert public == set(headrace.api.__all__)
