"""What bench makes of its words; measuring needs a GPU."""

from inference.__main__ import build_parser, main
from inference.commands.bench import cases


def read(*words):
    return cases(build_parser().parse_args(["bench", *words]))


def test_every_format_is_run_with_every_number_of_sessions():
    found = read("--sessions", "1,32", "--weights", "bf16,int8", "--kv", "int8")
    assert found == [
        ("bf16", "int8", 1),
        ("bf16", "int8", 32),
        ("int8", "int8", 1),
        ("int8", "int8", 32),
    ]


def test_pairs_name_exactly_the_cases_to_run():
    assert read("--pairs", "int4/int8:1,bf16/bf16:1+64") == [
        ("int4", "int8", 1),
        ("bf16", "bf16", 1),
        ("bf16", "bf16", 64),
    ]


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["bench"]) == 1
    assert "CUDA GPU" in capsys.readouterr().err
