"""Persona prompts: order, content, limits, and what they are cached under."""

import pytest
import torch

from inference.engine.voice_encoding import voice_of_codes
from inference.errors import RolePromptError, VoicePromptError
from inference.network.config import FREE, PAD
from inference.network.timeline import rows_of_frames
from inference.prompts.persona import persona_prompt, prompt_limit
from inference.prompts.preset_voices import preset_voice
from inference.prompts.prompt_text import wrapped
from inference.prompts.voice_file import read_voice, write_voice
from tests.inference.toys import seeded, toy_model

MODEL = toy_model()


def codes(frames, seed=1):
    shape = (frames, 8)
    return torch.randint(MODEL.config.audio_cardinality, shape, generator=seeded(seed))


def voice(frames, seed=1):
    data = write_voice(voice_of_codes(MODEL, codes(frames, seed)))
    return read_voice(data, MODEL.config)


def prompt(role="", spoken=None):
    return persona_prompt(MODEL, role, spoken)


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("", ""),
        ("  \n", ""),
        ("Be kind.", "<system> Be kind. <system>"),
        ("  Be kind. ", "<system> Be kind. <system>"),
        ("<system> Be kind. <system>", "<system> Be kind. <system>"),
        ("<system> Be kind.", "<system> <system> Be kind. <system>"),
    ],
)
def test_a_role_prompt_is_put_between_marks(role, expected):
    assert wrapped(role) == expected


def test_an_empty_prompt_is_twelve_frames_of_silence():
    made = prompt()
    assert made.frames == 12
    assert made.embeddings is None
    silence = MODEL.filler.silence
    assert torch.equal(made.rows[-1, 1:9], silence)
    assert torch.equal(made.last[9:], MODEL.filler.sine)
    # The user's codes of the next row's delayed streams are the tone's, the agent's
    # are silence; text and the codes without delay are free.
    assert made.carry[[0, 1, 9]].tolist() == [FREE] * 3
    assert torch.equal(made.carry[2:9], silence[1:])
    assert torch.equal(made.carry[10:], MODEL.filler.sine[1:])


def test_voice_silence_role_silence():
    ids = MODEL.tokenizer.encode("<system> Be kind. <system>")
    spoken = codes(20)
    made = prompt("Be kind.", voice(20))
    assert made.frames == 20 + 6 + len(ids) + 6
    text = torch.cat((made.rows, made.last[None]))[:, 0].tolist()
    assert text == [PAD] * 7 + ids + [PAD] * 6  # the voice's own last row first
    frames = torch.cat(
        (
            MODEL.filler.voice_frames(spoken),
            MODEL.filler.frames(6),
            MODEL.filler.frames(len(ids), torch.tensor(ids)),
            MODEL.filler.frames(6),
        )
    )
    rows, carry = rows_of_frames(MODEL.config, frames)
    embedded = MODEL.lm.embed(rows[:-1])
    fed = torch.cat((made.embeddings, MODEL.lm.embed(made.rows)))
    assert torch.equal(fed, embedded)
    assert torch.equal(made.last, rows[-1])
    assert torch.equal(made.carry, carry)


@pytest.mark.parametrize("frames", range(2, 9))
def test_a_voice_file_continues_like_its_codes_at_any_length(frames):
    made = prompt("", voice(frames))
    with_spacers = torch.cat(
        (MODEL.filler.voice_frames(codes(frames)), MODEL.filler.frames(12))
    )
    rows, carry = rows_of_frames(MODEL.config, with_spacers)
    assert torch.equal(made.rows, rows[frames - 1 : -1])
    assert torch.equal(made.carry, carry)


def test_a_role_prompt_beyond_half_the_context_is_refused():
    with pytest.raises(RolePromptError) as refused:
        prompt("word " * 200)
    assert "tokens long" in refused.value.text
    assert "shorten" in refused.value.text
    assert "voice" not in refused.value.text, "there is none"
    with pytest.raises(RolePromptError, match="tokens") as refused:
        prompt("word " * 200, voice(3))
    assert "with this voice" in refused.value.text


def test_a_packed_archive_of_voices_is_named_where_a_voice_is_missing(tmp_path):
    with pytest.raises(VoicePromptError) as refused:
        preset_voice(tmp_path, "NATF0")
    assert "import-voice" not in str(refused.value)
    (tmp_path / "voices.tgz").write_bytes(b"")
    with pytest.raises(VoicePromptError, match=r"voices.tgz .* import-voice"):
        preset_voice(tmp_path, "NATF0")


def test_a_voice_beyond_half_the_context_is_refused():
    room = prompt_limit(MODEL.config) - 12
    prompt("", voice(room))
    with pytest.raises(VoicePromptError, match="at most"):
        prompt("", voice(room + 1))


def test_equal_prompts_have_equal_keys():
    assert prompt("Be kind.", voice(9)).key == prompt(" Be kind. ", voice(9)).key
    keys = {
        prompt(role, spoken).key
        for role in ("", "Be kind.", "Be wild.")
        for spoken in (None, voice(9), voice(9, seed=2), voice(10))
    }
    assert len(keys) == 12
