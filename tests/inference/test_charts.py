import json

from inference.charts import line_chart


def made(title, unit, points, span):
    chart = line_chart(title, unit, points, span)
    (dataset,) = json.loads(chart.data)["datasets"]
    return dataset, json.loads(chart.options)


def test_the_label_says_the_latest_value():
    points = [(3600.0, 1.0), (50.0, 9.0), (10.0, 3.25)]
    assert line_chart("Tick, p99", "ms", points, 3600).label == "Tick, p99: 3.25 ms"
    assert line_chart("Sessions", "", points, 3600).label == "Sessions: 3.25"


def test_both_axes_have_a_title_with_the_unit():
    dataset, options = made("Tick, p99", "ms", [(0.0, 1.0)], 3600)
    titles = {name: axis["title"] for name, axis in options["scales"].items()}
    assert titles["x"]["text"] == "minutes from now"
    assert titles["y"]["text"] == dataset["label"] == "Tick, p99 (ms)"
    assert titles["x"]["display"] and titles["y"]["display"]
    assert [options["scales"]["x"][end] for end in ("min", "max")] == [-60, 0]
    assert made("Sessions", "", [(0.0, 1.0)], 3600)[0]["label"] == "Sessions"


def test_the_line_is_broken_where_samples_are_missing():
    points = [(float(ago), 1.0) for ago in (0, 10, 20, 300, 310, 900)]
    dataset, _ = made("x", "", points, 3600)
    values = [point["y"] for point in dataset["data"]]
    assert values == [1.0, None, 1.0, 1.0, None, 1.0, 1.0, 1.0, None]
    assert dataset["spanGaps"] is False
    minutes = [point["x"] for point in dataset["data"]]
    assert minutes == sorted(minutes) and minutes[0] == -15 and minutes[-1] == 0


def test_a_sample_alone_is_a_dot():
    points = [(0.0, 1.0), (10.0, 1.0), (900.0, 1.0)]
    dataset, _ = made("x", "", points, 3600)
    assert dataset["pointRadius"] == [2, 2, 0, 0, 0]


def test_zeros_and_no_points_are_fine():
    dataset, options = made("x", "", [(0.0, 0.0)], 60)
    assert dataset["data"][0] == {"x": 0, "y": 0}
    assert options["scales"]["y"]["beginAtZero"]
    assert line_chart("x", "", [], 60) is None
