import xml.etree.ElementTree as ET

from inference.charts import line_chart


def test_a_chart_is_well_formed_and_says_its_latest_value():
    points = [(3600.0, 1.0), (50.0, 9.0), (10.0, 3.25)]
    root = ET.fromstring(line_chart("A <b> & c", "ms", points, 3600))
    assert root.attrib["aria-label"] == "A <b> & c: 3.25 ms"


def test_the_line_is_broken_where_samples_are_missing():
    points = [(float(ago), 1.0) for ago in (0, 10, 20, 300, 310, 900)]
    svg = line_chart("x", "", points, 3600)
    assert svg.count("<polyline") == 2 and svg.count("<circle") == 1


def test_the_scale_is_round_and_holds_every_value():
    svg = line_chart("x", "", [(0.0, 13.0), (5.0, 17.0)], 60)
    assert ">20</text>" in svg and ">10</text>" in svg and ">0</text>" in svg


def test_zeros_and_no_points_are_fine():
    assert "<circle" in line_chart("x", "", [(0.0, 0.0)], 60)
    assert line_chart("x", "", [], 60) == ""
