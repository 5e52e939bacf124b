"""The page of faults is what the tests inject."""

from faults import table


def test_the_page_is_what_the_tests_inject():
    faults = table.all_faults()
    assert len({(fault.subject, fault.what) for fault in faults}) == len(faults) >= 50
    assert all(0 <= fault.quick <= fault.all for fault in faults)
    assert table.PAGE.read_text(encoding="utf-8") == table.render(faults), "run: python tests/faults/table.py"
