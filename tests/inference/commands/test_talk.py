"""``python -m inference talk`` on a toy model: lengths, forms, seeds, and a literal
slow loop that must give the same."""

import json
import wave

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load

from inference.__main__ import main
from inference.loading.checkpoint import load_model
from inference.prompts.prompt_text import wrapped
from tests.inference.models import LM, archive, toy_files, voice, write_files
from tests.inference.network.reference import Reference
from tests.inference.toys import seeded

RATE, FRAME = 24_000, 1_920


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = write_files(tmp_path_factory.mktemp("model"))
    (folder / "voices").mkdir()
    (folder / "voices" / "NATF0.pt").write_bytes(voice(1))
    return folder


def speech(seconds, seed=1):
    """Not speech, but loud enough to have a loudness, and never twice the same."""
    time = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(0, 0.05, len(time))
    return (0.3 * np.sin(2 * np.pi * (180 + 40 * time) * time) + noise) * 0.8


class Run:
    def __init__(self, folder, model, sound, *words, rate=RATE, name="in.wav"):
        source, self.wav = folder / name, folder / "out.wav"
        soundfile.write(source, sound, rate)
        words = ["--input", source, "--output", self.wav, "--model", model, *words]
        words += ["--output-text", folder / "out.json"]
        words += ["--output-tokens", folder / "out.npy", "--device", "cpu"]
        self.code = main(["talk", *map(str, words)])
        if self.code == 0:
            with wave.open(str(self.wav)) as file:
                self.form = file.getparams()[:3]
                self.pcm = np.frombuffer(file.readframes(10**7), "<i2")
            self.texts = json.loads((folder / "out.json").read_text())
            self.tokens = np.load(folder / "out.npy", allow_pickle=False)


@pytest.mark.parametrize(
    ("samples", "frames"), [(1, 1), (FRAME, 1), (FRAME + 1, 2), (10 * FRAME - 7, 10)]
)
def test_the_answer_is_as_long_as_the_question(tmp_path, model, samples, frames):
    run = Run(tmp_path, model, speech(2)[:samples])
    assert run.code == 0
    assert run.form == (1, 2, RATE)
    assert len(run.pcm) == samples
    assert len(run.texts) == frames
    assert run.tokens.shape == (17, frames)
    assert run.tokens.dtype == np.uint16


def test_texts_are_one_string_per_frame(tmp_path, model):
    run = Run(tmp_path, model, speech(1))
    tokenizer = load_model(model).tokenizer
    names = {0: "EPAD", 3: "PAD"}
    for said, token in zip(run.texts, run.tokens[0].tolist(), strict=True):
        assert said == names.get(token, tokenizer.piece(token))


def test_as_the_reference_all_is_a_frame_later(tmp_path, model):
    """It begins with the last agent frame of the persona prompt."""
    ours = Run(tmp_path, model, speech(1), "--greedy")
    late = Run(tmp_path, model, speech(1), "--greedy", "--as-reference")
    assert np.array_equal(ours.tokens, late.tokens)
    assert late.texts == ["PAD", *ours.texts[:-1]]
    assert np.array_equal(late.pcm[FRAME:], ours.pcm[:-FRAME])
    assert np.abs(late.pcm[:FRAME]).max() < np.abs(ours.pcm).max()


def test_the_same_seed_gives_the_same_answer(tmp_path, model):
    a = Run(tmp_path, model, speech(1), "--seed", "5").tokens
    b = Run(tmp_path, model, speech(1), "--seed", "5").tokens
    c = Run(tmp_path, model, speech(1), "--seed", "6").tokens
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert np.array_equal(a[9:], c[9:])  # what the user said is the same


def test_without_a_seed_each_answer_is_another_one(tmp_path, model):
    a, b = (Run(tmp_path, model, speech(1)).tokens for _ in range(2))
    assert not np.array_equal(a, b)


def test_a_temperature_of_zero_is_greedy(tmp_path, model):
    a = Run(tmp_path, model, speech(1), "--greedy").tokens
    b = Run(tmp_path, model, speech(1), "--temp-text", "0", "--temp-audio", "0").tokens
    c = Run(tmp_path, model, speech(1), "--top-k-text", "1", "--top-k-audio", "1")
    assert np.array_equal(a, b)
    assert np.array_equal(a, c.tokens)


def test_greedy_equals_the_literal_loop(tmp_path, model):
    """Every frame of the persona prompt stepped one by one through the slow ring form
    of the specification, the codec frame by frame: the same tokens and sound."""
    sound, role = speech(2.9), "Answer in one word."
    run = Run(tmp_path, model, sound, "--greedy", "--voice", "NATF0", "--text-prompt",
              role, "--weights", "fp32", "--as-reference")  # fmt: skip
    loaded = load_model(model)
    user = soundfile.read(tmp_path / "in.wav", dtype="float32")[0]
    texts, pcm = literal(loaded, role, user)
    assert run.texts == texts
    assert np.abs(run.pcm - pcm.astype(int)).max() <= 1


def literal(loaded, role, sound):
    config, mimi, filler = loaded.config, loaded.mimi, loaded.filler
    slow = Reference(
        load(toy_files()[LM]),
        {
            "heads": config.temporal.heads,
            "layers": config.temporal.layers,
            "context": config.temporal.context,
            "depth_heads": config.depth.heads,
            "depth_layers": config.depth.layers,
        },
    )
    # The very codes that models.voice(1) makes its file of.
    codes = torch.randint(config.audio_cardinality, (12, 8), generator=seeded(1))
    ids = loaded.tokenizer.encode(wrapped(role))
    prompt = [filler.voice_frames(codes), filler.frames(6)]
    prompt += [filler.frames(len(ids), torch.tensor(ids)), filler.frames(6)]
    for frame in torch.cat(prompt).tolist():
        slow.call(frame)
    hearing, speaking = mimi.encoder_state(1), mimi.decoder_state(1)
    texts, pieces = [], []
    padded = np.zeros(-(-len(sound) // FRAME) * FRAME, dtype=np.float32)
    padded[: len(sound)] = sound
    for start in range(0, len(padded), FRAME):
        chunk = torch.from_numpy(padded[start : start + FRAME])[None, None]
        with torch.inference_mode():
            heard = mimi.encode_step(chunk, hearing)[0, :, 0].tolist()
            said = slow.call([None] * 9 + heard)
            codes = torch.tensor(said[1:9])[None, :, None]
            pieces.append(mimi.decode_step(codes, speaking)[0, 0].numpy())
        names = {0: "EPAD", 3: "PAD"}
        texts.append(names.get(said[0]) or loaded.tokenizer.piece(said[0]))
    whole = np.concatenate(pieces)[: len(sound)] * 32768
    return texts, np.clip(np.rint(whole), -32768, 32767).astype(np.int16)


@pytest.mark.parametrize(
    ("name", "rate"),
    [("in.wav", 16_000), ("in.flac", 44_100), ("in.mp3", 48_000), ("in.ogg", 48_000)],
)
def test_any_format_and_rate_is_heard(tmp_path, model, name, rate):
    sound = np.interp(np.arange(rate) / rate, np.arange(RATE) / RATE, speech(1))
    run = Run(tmp_path, model, sound, rate=rate, name=name)
    assert run.code == 0
    assert abs(len(run.pcm) - RATE) < 0.1 * RATE  # coders add what they need


def test_of_two_channels_the_first_is_heard(tmp_path, model):
    left = speech(1)
    a = Run(tmp_path, model, left, "--greedy").tokens
    b = Run(tmp_path, model, np.stack([left, speech(1, 9)], axis=1), "--greedy").tokens
    assert np.array_equal(a, b)


def test_a_voice_may_be_a_preset_a_file_or_a_recording(tmp_path, model):
    def tokens(voice):
        return Run(tmp_path, model, speech(1), "--greedy", "--voice", str(voice)).tokens

    (tmp_path / "own.pt").write_bytes(voice(1))
    soundfile.write(tmp_path / "own.flac", speech(2, 7), RATE)
    preset = tokens("NATF0")
    assert np.array_equal(preset, tokens("NATF0.pt"))
    assert np.array_equal(preset, tokens(tmp_path / "own.pt"))
    assert not np.array_equal(preset, tokens(tmp_path / "own.flac"))
    assert not np.array_equal(preset, tokens(""))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--voice", "NATF9"], "there are: NATF0"),
        (["--voice", "../NATF0"], "no voice"),
        (["--temp-audio", "-1"], "Temperatures must be"),
        (["--temp-text", "nan"], "Temperatures must be"),
        (["--text-prompt", "word " * 999], "role prompt"),
        (["--output", "/nowhere/out.wav"], "can't be written"),
        (["--input", "absent.wav"], "absent.wav"),
        (["--input", __file__], "test_talk.py"),
        (["--model", "absent"], "download"),
        (["--weights", "int8"], "need a CUDA GPU"),
        (["--weights", "int4", "--kv", "int8"], "need a CUDA GPU"),
        (["--kv", "int8"], "by the plain engine"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, model, words, said, caplog):
    assert Run(tmp_path, model, speech(1), *words).code == 1
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert said in record.getMessage()
    assert not (tmp_path / "out.wav").exists()


def test_a_voice_that_is_silent_is_refused(tmp_path, model, caplog):
    soundfile.write(tmp_path / "silent.wav", np.zeros(2 * RATE), RATE)
    run = Run(tmp_path, model, speech(1), "--voice", str(tmp_path / "silent.wav"))
    assert run.code == 1
    assert "silent" in caplog.text


def test_the_summary_is_one_line_with_the_real_time_factor(tmp_path, model, capsys):
    Run(tmp_path, model, speech(1), "--seed", "7")
    (line,) = capsys.readouterr().out.splitlines()
    assert "1.00 s of sound" in line
    assert "real-time factor" in line
    assert "seed 7" in line


def test_voices_are_listed(model, tmp_path, capsys):
    assert main(["voices", "--model", str(model)]) == 0
    assert capsys.readouterr().out == "NATF0\t1.0 s\tNatural, female 0\n"
    assert main(["voices", "--model", str(write_files(tmp_path / "mute"))]) == 0
    assert "no voices" in capsys.readouterr().err


def test_a_voice_of_others_is_imported_only_if_it_fits(tmp_path, capsys, caplog):
    model = write_files(tmp_path / "model")

    def add(file, *words):
        return main(["import-voice", str(file), "--model", str(model), *words])

    (tmp_path / "Nora.pt").write_bytes(voice(3))
    assert add(tmp_path / "Nora.pt") == 0
    assert add(tmp_path / "Nora.pt") == 1
    assert "already" in caplog.text
    assert add(tmp_path / "Nora.pt", "--replace") == 0
    assert add(tmp_path / "Nora.pt", "--name", "Nora_2") == 0
    assert add(tmp_path / "Nora.pt", "--name", "../Nora") == 1
    (tmp_path / "bad.pt").write_bytes(b"junk")
    assert add(tmp_path / "bad.pt") == 1
    assert add(tmp_path / "absent.pt") == 1
    (tmp_path / "some.tgz").write_bytes(archive({"voices/Tom.pt": voice(4)}))
    assert add(tmp_path / "some.tgz") == 0
    capsys.readouterr()
    main(["voices", "--model", str(model)])
    listed = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == ["Nora", "Nora_2", "Tom"]
