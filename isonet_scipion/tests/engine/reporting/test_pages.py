"""Pages of HTML."""

from isonet_scipion.engine.reporting.pages import card, write_page


def test_what_comes_from_files_can_not_be_markup(tmp_path):
    page = write_page(tmp_path / "report.html", "<b>TS_1</b>", [card("<i>", "1", "a & b")])
    text = page.read_text(encoding="utf-8")
    assert "<b>TS_1</b>" not in text and "&lt;b&gt;TS_1&lt;/b&gt;" in text
    assert "<i>" not in text and "a &amp; b" in text
    assert list(tmp_path.iterdir()) == [page]
