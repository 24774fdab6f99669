import pytest

from inference.worker.bearer import authorization, shows_secret


def test_the_header_of_one_end_is_taken_by_the_other():
    assert shows_secret(authorization("s3cret")["Authorization"], "s3cret")


@pytest.mark.parametrize(
    ("header", "secret"),
    [
        ("", "s"),
        ("s", "s"),
        ("Bearer s ", "s"),
        ("bearer s", "s"),
        ("Bearer \udcff", "s"),  # bytes that are no UTF-8, as websockets gives them
        ("Bearer wröng", "s"),
        ("Bearer ", ""),  # a worker or site without a secret opens to no one
    ],
)
def test_other_headers_are_refused(header, secret):
    assert not shows_secret(header, secret)
