import orjson
import pytest

from recserve.demo.figures import BEGIN, END, main, render_figures
from recserve.errors import DataError

REPORT = {
    "data": "shop",
    "quick": False,
    "seconds": 31.4,
    "training": {"train_rows": 8000, "test_rows": 2000},
    "quality": [
        {"name": "DIN", "auc": 0.77, "gauc": 0.73456, "log_loss": 0.26},
        {"name": "popularity", "auc": 0.7, "gauc": 0.68, "log_loss": 0.28},
    ],
    "top": {"users": 300, "candidates": 500, "top": 10, "rates": {"truth": 0.78, "DIN": 0.53, "random": 0.16}},
    "latency": {"requests": 300, "candidates": 500, "p50_ms": 2.83, "p99_ms": 5.71},
    "loop": {"values": 1234},
}


def test_figures_are_tables_with_the_numbers_of_the_report():
    text = render_figures([REPORT])
    assert "| DIN | 0.7700 | 0.7346 | 0.2600 |" in text
    assert "the last 2,000 samples by time, after training on the 8,000 before" in text
    assert "mean over 300 users: the simulator's truth 0.780, DIN 0.530, random 0.160" in text
    assert "P50 2.8 ms" in text
    assert "(1,234 values)" in text


def test_figures_of_data_without_truth_have_no_true_rates():
    assert "True click rate" not in render_figures([{**REPORT, "data": "ml-100k", "top": None}])


def test_chinese_figures_hold_the_same_numbers():
    text = render_figures([REPORT], "zh")
    assert "| 热度 | 0.7000 | 0.6800 | 0.2800 |" in text
    assert "模拟器的真实概率 0.780，DIN 0.530，随机 0.160" in text


def test_the_command_replaces_what_stands_in_the_regions(tmp_path, capsys):
    (tmp_path / "a.json").write_bytes(orjson.dumps(REPORT))
    for name in ("README.md", "README.zh-CN.md"):
        (tmp_path / name).write_text(f"head\n{BEGIN}\nold\n{END}\ntail\n", encoding="utf-8")
    arguments = [str(tmp_path / "a.json"), "--readme", str(tmp_path / "README.md"), str(tmp_path / "README.zh-CN.md")]
    for _ in range(2):
        assert main(arguments) == 0
    english, chinese = ((tmp_path / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
    assert english == f"head\n{BEGIN}\n{render_figures([REPORT])}\n{END}\ntail\n"
    assert chinese == f"head\n{BEGIN}\n{render_figures([REPORT], 'zh')}\n{END}\ntail\n"


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({**REPORT, "quick": True}, r"the report is of a quick run\. Run the demo without --quick"),
        ({"quick": False}, r"is no report of the demo: 'training' is missing\. Write it with --json"),
    ],
)
def test_what_is_no_report_is_an_error(report, message):
    with pytest.raises(DataError, match=message):
        render_figures([report])


@pytest.mark.parametrize(
    ("report", "page", "message"),
    [
        (b"[1]", f"{BEGIN}\n{END}", "a.json: is no report of the demo. Write it with --json."),
        (b"{", f"{BEGIN}\n{END}", "a.json: cannot be read: "),
        (orjson.dumps(REPORT), "no region", "page.md: has not exactly one region of figures."),
        (orjson.dumps(REPORT), None, "page.md: cannot be read: No such file or directory"),
    ],
)
def test_a_command_that_cannot_do_it_says_why(tmp_path, capsys, report, page, message):
    (tmp_path / "a.json").write_bytes(report)
    if page is not None:
        (tmp_path / "page.md").write_text(page)
    assert main([str(tmp_path / "a.json"), "--readme", str(tmp_path / "page.md")]) == 1
    assert message in capsys.readouterr().err
