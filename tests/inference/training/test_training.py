"""The making of the small model, at a size that fits a test."""

import dataclasses
import random
import zlib

import numpy as np
import pytest
import torch

from inference.network.config import AGENT, PAD, TEXT, TINY, USER
from inference.network.lm import LanguageModel
from inference.network.mimi import MIMI_TINY, Mimi
from inference.network.timeline import make_frames, rows_of_frames
from inference.timing import SAMPLE_RATE
from inference.training.__main__ import read_config
from inference.training.codec.config import CodecConfig
from inference.training.codec.data import UNKNOWN, SpeechPool, draw_clips
from inference.training.codec.discriminators import StftDiscriminator
from inference.training.codec.losses import LineLoss, PhonemeHead
from inference.training.codec.quantise import begin_codebooks, quantise, update
from inference.training.codec.train import CodecTrainer
from inference.training.corpus.dialogues import Index
from inference.training.corpus.domain import load_domain
from inference.training.corpus.mixing import NEAR, DialoguePool, mix, near
from inference.training.corpus.personas import draw_persona
from inference.training.corpus.planner import ALERT, LATE, Planner
from inference.training.corpus.plans import VARIANTS, make_batch
from inference.training.corpus.speech_corpus import (
    Entry,
    ShardReader,
    SpeechCorpus,
    write_shard,
)
from inference.training.corpus.text_track import TextWriter
from inference.training.corpus.utterances import (
    fact_texts,
    fixed_agent_texts,
    held_out_texts,
    plan_utterances,
    user_texts,
)
from inference.training.distributed import Ranks
from inference.training.evaluation.text_eval import plain
from inference.training.export import mean
from inference.training.files import load_lm, save_codec, save_lm
from inference.training.lm.batches import Assembler
from inference.training.lm.config import LMConfig
from inference.training.lm.forward import Forward
from inference.training.lm.train import LMTrainer
from inference.training.progress import Curves
from inference.training.tts.speak import SpeechConfig, prepare


@pytest.fixture(scope="module")
def domain():
    return load_domain()


def encode(text: str) -> list[int]:
    """One token per word: enough to tell texts apart."""
    return [4 + zlib.crc32(word.encode()) % 900 for word in text.split()]


@pytest.fixture(scope="module")
def corpus(domain):
    """Every sentence, as a short noise."""
    rng = np.random.default_rng(1)
    entries, sounds, start = [], [], 0
    agents = fixed_agent_texts(domain) + fact_texts(domain)
    for side, texts in (("agent", agents), ("user", user_texts(domain))):
        for text in texts:
            words = len(text.split())
            samples = 2400 * words
            times = [(i * 0.1, (i + 1) * 0.1) for i in range(words)]
            entries.append(Entry(text, side, side, samples, times, [], start))
            sounds.append(rng.integers(-3000, 3000, samples, dtype=np.int16))
            start += samples
    return SpeechCorpus(entries, np.concatenate(sounds))


@pytest.fixture(scope="module")
def model():
    lm = LanguageModel(TINY, torch.float32, "cpu", torch.float32)
    lm.init_weights(torch.Generator().manual_seed(3))
    return lm


def test_training_never_hears_a_held_out_wording_or_voice(domain):
    planned = plan_utterances(domain, 1, 4)
    trained = {u.text for u in planned if u.side == "user"}
    assert not trained & set(held_out_texts(domain))
    voices = {u.voice for u in planned if u.side != "test"}
    assert not voices & {u.voice for u in planned if u.side == "test"}


def test_the_domain_holds_what_the_model_is_to_answer(domain):
    assert len(domain.intents) >= 50
    assert len(domain.facts["name"].values) >= 50
    assert all(len(intent.ask) >= 4 for intent in domain.intents)


def test_the_same_seed_plans_the_same_dialogue(domain, corpus):
    index = Index(corpus.entries)
    first, second = (Planner(domain, index, encode, 5).draw(400) for _ in range(2))
    assert first.placements == second.placements
    assert first.text == second.text


def test_other_facts_change_the_prompt_and_what_is_written_but_not_the_sound(
    domain, corpus
):
    planner = Planner(domain, Index(corpus.entries), encode, 5)
    made = [planner.draw(400) for _ in range(20)]
    changes = 0
    for dialogue in made:
        other = planner.vary(dialogue)
        for frame, changed in enumerate(other.changed):
            same = other.text[frame] == dialogue.text[frame]
            near = any(other.changed[max(frame - 3, 0) : frame + 20])
            assert same or changed or near
        changes += any(other.changed)
    assert changes > 5


def test_an_interrupted_answer_ends_soon_after_the_user_begins(domain, corpus):
    planner = Planner(domain, Index(corpus.entries), encode, 7)
    stopped = [
        turn
        for _ in range(200)
        for turn in planner.draw(400).turns
        if "interrupted" in turn.kind
    ]
    assert stopped
    assert all(turn.answer_end - turn.answer_at < 3 for turn in stopped)


def test_some_agents_speak_on_and_learn_that_they_should_not(domain, corpus):
    slow = [
        dataclasses.replace(
            entry,
            samples=3 * entry.samples,
            words=[(3 * begin, 3 * end) for begin, end in entry.words],
        )
        for entry in corpus.entries
    ]
    planner = Planner(domain, Index(slow), encode, 7)
    late, stopped = 0, 0
    for _ in range(200):
        made = planner.draw(400)
        ends = [t.answer_end for t in made.turns if "interrupted" in t.kind]
        stopped += len(ends)
        frames = [number for number, halt in enumerate(made.halt) if halt]
        late += sum(made.halt[min(round(end / 0.08), 400) - 1] for end in ends)
        # Each such frame lies before one of the ends, and the user is speaking.
        assert all(
            any(frame * 0.08 < end < frame * 0.08 + ALERT for end in ends)
            for frame in frames
        )
        assert all(made.alert[frame] for frame in frames)
    assert LATE / 2 < late / stopped < LATE * 1.2


def test_who_promises_a_question_hears_now_and_then_that_somebody_listens(
    domain, corpus
):
    planner = Planner(domain, Index(corpus.entries), encode, 9)
    promises = {*domain.pauses, *domain.more_pauses}
    heard, promised = 0, 0
    for _ in range(200):
        made = planner.draw(400)
        spoken = [(p, corpus.entries[p.entry].text) for p in made.placements]
        promised += sum(p.user and text in promises for p, text in spoken)
        for own, text in spoken:
            if own.user or text not in domain.agent_backchannels:
                continue
            heard += 1
            before = [p for p, _ in spoken if p.user and p.at < own.at]
            last = max(before, key=lambda p: p.at)
            assert corpus.entries[last.entry].text in promises
            assert 0.2 < own.at - (last.at + last.end - last.begin) < 0.6
    assert 0.3 < heard / promised < 0.6


def test_who_will_be_cut_off_does_not_know_it_from_its_text():
    """Its text is that of a whole answer, up to the frame in which it falls silent."""
    pieces = [[10, 11, 12], [20], [30, 31]]
    times = [(0.0, 0.5), (0.5, 0.9), (1.0, 1.6)]
    writer = TextWriter(encode)
    whole, cut = [PAD] * 30, [PAD] * 30
    writer.speak(whole, pieces, times, 0.4, 1.7)
    writer.speak(cut, pieces, times, 0.4, 0.9)
    stop = round((0.4 + 0.9) / 0.08)
    assert 30 in cut  # begins to sound after the end, its text lies before
    assert 31 in whole and 31 not in cut
    assert cut == whole[:stop] + [PAD] * (30 - stop)


def test_rows_in_which_the_agent_has_to_stop_are_marked(domain, corpus):
    planner = Planner(domain, Index(corpus.entries), encode, 7)
    for _ in range(50):
        made = planner.draw(400)
        ends = [t.answer_end for t in made.turns if "interrupted" in t.kind]
        stops = [int(end / 0.08) for end in ends if end / 0.08 < 400]
        assert all(made.alert[stop] for stop in stops)
        over = any(("interrupted" in t.kind) or ("+b" in t.kind) for t in made.turns)
        assert over or not any(made.alert)


def test_rows_near_speech_are_learnt_whether_it_continues_or_not():
    loud = torch.zeros(1, 100, dtype=torch.bool)
    loud[0, 50:60] = True
    found = near(loud)[0].nonzero().flatten().tolist()
    assert found == list(range(50 - NEAR, 60 + NEAR))


def test_the_training_forward_equals_the_streaming_step(model):
    frames = torch.randint(4, 400, (24, 17), generator=torch.Generator().manual_seed(1))
    rows, _ = rows_of_frames(TINY, frames)
    forward = Forward(model, compiled=False)
    with torch.no_grad():
        whole = forward.temporal(rows[None])[0]
        ring = model.temporal.ring(1)
        steps = [
            model.temporal.step(model.embed(row[None]), ring, None) for row in rows
        ]
        logits = forward.depth(whole, rows[:, TEXT], rows[:, AGENT])
        known = model.depth(whole, rows[:, TEXT], rows[:, AGENT])
    assert torch.allclose(whole, torch.cat(steps), atol=1e-4)
    assert torch.allclose(logits.transpose(0, 1), known, atol=1e-4)


@pytest.fixture(scope="module")
def codec():
    mimi = Mimi(MIMI_TINY)
    mimi.init_weights(torch.Generator().manual_seed(4))
    return mimi.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def plans(domain, corpus):
    planner = Planner(domain, Index(corpus.entries), encode, 5)
    plans = make_batch([planner.draw(40)], planner.index, planner, random.Random(1))
    plans.prompt[..., 20:] = PAD
    plans.prompt_tokens.clip(max=20, out=plans.prompt_tokens)
    return plans


def make_pool(corpus, codec, plans):
    pool = DialoguePool(1, 40, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    pool.renew(torch.from_numpy(corpus.pcm), codec, plans, generator, Ranks())
    return pool


@pytest.fixture(scope="module")
def pool(corpus, codec, plans):
    return make_pool(corpus, codec, plans)


def short(**settings) -> LMConfig:
    settings = {"batch": 1, "length": 110, "frames": 40, **settings}
    return LMConfig("", "", "", **settings)


def draw(codec, pool, **settings):
    assembler = Assembler(short(**settings), codec, torch.device("cpu"))
    return assembler, assembler.draw(pool, torch.Generator().manual_seed(1))


def test_the_rows_of_training_are_those_of_inference(codec, plans, pool):
    assembler, batch = draw(codec, pool, varied=0.0, pinned=0.0, slid=0.0)
    voiced, ids = int(plans.voice_frames[0]), plans.prompt[0, 0, :20]
    quiet = {"agent": assembler.silence, "user": assembler.sine}
    voice = pool.voice[0, :, :voiced].t().long()
    talk = make_frames(
        40,
        text=pool.text[0, 0].long(),
        agent=pool.agent[0].t().long(),
        user=pool.user[0].t().long(),
    )
    tokens = int(plans.prompt_tokens[0, 0])
    frames = torch.cat(
        [
            make_frames(voiced, text=PAD, agent=voice, user=assembler.sine),
            make_frames(6, text=PAD, **quiet),
            make_frames(tokens, text=torch.from_numpy(ids[:tokens]), **quiet),
            make_frames(6, text=PAD, **quiet),
            talk,
        ]
    )
    rows, _ = rows_of_frames(TINY, frames)
    assert torch.equal(batch.rows[0, : len(rows)], rows[:110])
    assert batch.free[0].tolist().index(True) == voiced + 12 + tokens
    assert torch.equal(batch.position[0], torch.arange(110))


def test_who_speaks_on_after_an_interruption_learns_silence(corpus, codec, plans):
    halt = np.zeros_like(plans.halt)
    halt[:, 10:13] = True
    pool = make_pool(corpus, codec, dataclasses.replace(plans, halt=halt))
    assembler, batch = draw(codec, pool, varied=0.0, pinned=0.0, slid=0.0)
    begin = batch.free[0].tolist().index(True)
    silence, acoustic = assembler.silence, slice(AGENT.start + 1, AGENT.stop)
    wanted = batch.rows[0].clone()
    for row in range(begin + 10, begin + 13):
        wanted[row, TEXT] = PAD
        wanted[row, AGENT.start] = silence[0]
        wanted[row + 1, acoustic] = silence[1:]  # which come one row later
    assert torch.equal(batch.wanted[0], wanted)
    assert not torch.equal(batch.wanted, batch.rows)


def test_a_pinned_prompt_lies_far_behind_the_window(codec, plans, pool):
    _, now = draw(codec, pool, varied=0.0, pinned=0.0, slid=0.0)
    _, late = draw(codec, pool, varied=0.0, pinned=1.0, slid=0.0)
    begin = now.free[0].tolist().index(True)
    assert torch.equal(late.rows[0, :begin], now.rows[0, :begin])
    steps = late.position[0].diff()
    assert steps[begin - 1] > 1
    assert (steps.tolist().count(1)) == 108


def test_without_its_prompt_a_sequence_does_not_learn_facts(codec, pool):
    _, late = draw(codec, pool, pinned=0.0, slid=1.0)
    assert (late.rows[0, 0] < TINY.audio_cardinality).all()
    assert not (late.free & late.changed).any()


def test_training_again_gives_the_same_losses(corpus, codec, plans):
    def first_losses() -> list[float]:
        config = short(steps=2, warm=1, compiled=False)
        trainer = LMTrainer(config, codec, Ranks())
        pool = make_pool(corpus, codec, plans)
        losses = []
        for trainer.step in range(2):
            found = trainer.train_step(pool)
            losses += [float(found[name].detach()) for name in ("text", "audio")]
        return losses

    first = first_losses()
    assert first == first_losses()
    assert first[2] < first[0]


def test_mixing_puts_a_sound_where_the_plan_says(domain, corpus):
    planner = Planner(domain, Index(corpus.entries), encode, 5)
    plans = make_batch([planner.draw(100)], planner.index, planner, random.Random(1))
    both = mix(torch.from_numpy(corpus.pcm), plans.talk, 1, 2, 100 * 1920)
    row, channel, at, source, length, _ = plans.talk.where[0].tolist()
    assert (row, channel) == (0, AGENT.start - 1)
    heard = both[0, channel, at + 1500 : at + 1510]
    wanted = torch.from_numpy(corpus.pcm[source + 1500 : source + 1510]).float() / 32768
    assert length > 2000
    assert torch.allclose(heard, wanted, atol=1e-3)
    assert plans.text.shape[1] == VARIANTS


def test_codebooks_learn_what_they_are_chosen_for():
    codec = Mimi(MIMI_TINY)
    codec.init_weights()
    latent = torch.randn(
        4, MIMI_TINY.dim, 200, generator=torch.Generator().manual_seed(1)
    )

    def left_over() -> float:
        made = quantise(codec.quantizer, latent, None)
        update(made.stats)
        return float(made.commitment)

    with torch.no_grad():
        before = left_over()
        begin_codebooks(codec.quantizer, latent)
        after = left_over()
    assert after < 0.8 * before


def noise_pool() -> SpeechPool:
    pool = SpeechPool(torch.device("cpu"), 0.002)
    noise = np.random.default_rng(3).normal(0, 3000, 150_000).astype(np.int16)
    pool.append([], noise)
    return pool


def test_training_a_codec_again_gives_the_same_losses():
    def losses() -> list[float]:
        pool = noise_pool()
        config = CodecConfig("", "", batch=2, frames=4, steps=8, crop=4096)
        config = dataclasses.replace(
            config, codebooks_from=0.2, discriminator_from=0.5, width=8
        )
        trainer, found = CodecTrainer(config, Ranks()), []
        for trainer.step in range(8):
            made = trainer.train_step(pool)
            found += [float(v.detach()) for _, v in sorted(made.items())]
        assert trainer.coded and "judge" in made
        return found

    first = losses()
    assert np.isfinite(first).all()
    assert first == losses()


def test_what_is_saved_of_a_codec_lies_between_its_last_steps(tmp_path):
    pool = noise_pool()
    config = CodecConfig("", str(tmp_path), batch=2, frames=4, steps=4, crop=4096)
    config = dataclasses.replace(
        config, codebooks_from=0.0, discriminator_from=2.0, apart=2
    )
    trainer = CodecTrainer(config, Ranks())
    path = "decoder.model.0.conv.conv.bias"
    before = trainer.codec.state_dict()[path].clone()
    trainer.run(pool, Curves(tmp_path, "codec", shown=False))
    mean, now = trainer.smooth.state_dict(), trainer.codec.state_dict()
    assert 0 < (mean[path] - now[path]).norm() < (before - now[path]).norm()
    for name in mean:  # else the codes would be others
        if not name.startswith(("upsample", "decoder")):
            assert torch.equal(mean[name], now[name])


def test_a_line_that_the_recording_lacks_is_heard():
    time = torch.arange(24_000) / SAMPLE_RATE
    noise = torch.randn(1, 1, 24_000, generator=torch.Generator().manual_seed(1)) * 0.02

    def excess(hertz: float) -> float:
        return float(
            LineLoss(1200)(noise + 0.01 * torch.sin(6.2832 * hertz * time), noise)
        )

    assert float(LineLoss(1200)(noise, noise)) == 0
    assert excess(4800) > 0.05
    assert excess(4900) < 0.005


def test_a_discriminator_that_raises_to_a_power_hears_what_is_quiet():
    sound = torch.sin(torch.arange(8192) * 0.3)[None, None]
    quiet = 0.01 * torch.sin(torch.arange(8192) * 1.5)[None, None]

    def change(power: float) -> float:
        torch.manual_seed(1)
        judge = StftDiscriminator(512, 8, power)
        with torch.no_grad():
            plain, with_it = (judge(x)[1][0] for x in (sound, sound + quiet))
        return float((plain - with_it).norm() / plain.norm())

    assert change(0.5) > 2 * change(1.0)


def test_a_saved_codec_chooses_the_same_codes(tmp_path):
    from safetensors.torch import load_file

    codec = Mimi(MIMI_TINY)
    codec.init_weights()
    save_codec(codec, tmp_path / "codec.safetensors")
    other = Mimi(MIMI_TINY)
    state = load_file(tmp_path / "codec.safetensors")
    other.load_state_dict({k: v.float() for k, v in state.items()})
    sound = (
        torch.randn(1, 1, 1920 * 5, generator=torch.Generator().manual_seed(1)) * 0.1
    )
    with torch.no_grad():
        same = codec.encode(sound) == other.encode(sound)
    assert same[:, 0].float().mean() > 0.7  # half precision moves near ties only


def test_a_saved_language_model_loads_again(model, tmp_path):
    save_lm(model, tmp_path, shards=2)
    other = LanguageModel(TINY, torch.float32, "cpu", torch.float32)
    load_lm(other, sorted(tmp_path.glob("lm-*.safetensors")))
    assert torch.allclose(model.text_linear, other.text_linear, atol=1e-2)
    assert torch.equal(other.emb, model.emb.to(torch.bfloat16).float())


def test_shards_are_taken_up_once(corpus, tmp_path):
    reader = ShardReader(tmp_path)
    some = [corpus.entries[3], corpus.entries[4]]
    sounds = [corpus.sound(entry).copy() for entry in some]
    copies = [Entry(e.text, e.voice, e.side, e.samples, e.words, []) for e in some]
    write_shard(tmp_path / "one.npz", copies, sounds)
    read = reader.update(SpeechCorpus())
    assert [entry.text for entry in read.entries] == [entry.text for entry in some]
    assert np.array_equal(read.sound(read.entries[1]), sounds[1])
    assert reader.update(read) is read


def test_a_role_prompt_holds_the_facts_of_its_persona(domain):
    rng = random.Random(2)
    for _ in range(50):
        persona = draw_persona(domain, rng, "Zoe")
        assert "Zoe" in persona.role_prompt
        assert persona.role_prompt.startswith("<system> ")


def test_an_unknown_setting_is_refused(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('codec = "c"\ntokenizer = "t"\nout = "o"\n')
    assert read_config(LMConfig, path, ["steps=7"]).steps == 7
    with pytest.raises(SystemExit, match="no setting"):
        read_config(LMConfig, path, ["stepz=7"])


def test_answers_are_compared_without_marks_and_case():
    assert plain("It's on the TOP floor!") == "it s on the top floor"
    assert USER.stop == 17


def test_the_mean_of_two_models_is_of_the_same_weights():
    own = {"a": torch.tensor([1.0, 3.0], dtype=torch.bfloat16)}
    other = {"a": torch.tensor([3.0, -1.0])}
    found = mean(own, other, 0.25)["a"]
    assert found.dtype == torch.bfloat16
    assert found.tolist() == [2.5, 0.0]
    with pytest.raises(SystemExit, match="same weights"):
        mean(own, {"b": other["a"]}, 0.5)


def test_a_codec_hears_one_side_more_often_and_as_it_is():
    generator = torch.Generator().manual_seed(1)
    pcm = np.zeros(24_000 * 8, np.int16)
    pcm[: 24_000 * 4] = 8_000  # the user's: a constant
    pcm[24_000 * 4 :] = -8_000
    user = Entry("a", "u", "user", 24_000 * 4, [], [(7, 0.0, 4.0)], 0)
    agent = Entry("b", "v", "agent", 24_000 * 4, [], [], 24_000 * 4)
    pool = SpeechPool(torch.device("cpu"), hours=0.01)
    pool.fill_in_order(SpeechCorpus([user, agent], pcm), "agent")
    assert pool.first == 24_000 * 4
    assert set(pool.labels[:100].tolist()) == {UNKNOWN}
    sound, labels = draw_clips(pool, 64, 4, generator, first_share=1.0)
    assert sound.max() <= 0  # only the agent, without noise
    assert set(labels.unique().tolist()) <= {0, UNKNOWN}  # 0 where a pause was put in
    sound, _ = draw_clips(pool, 64, 4, generator, first_share=0.0)
    assert (sound.mean((1, 2)) > 0).any()


def test_phonemes_that_were_not_transcribed_are_not_learnt():
    head = PhonemeHead(8)
    latent = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(1))
    labels = torch.full((2, 3, 4), 5, dtype=torch.uint8)
    known = head(latent[:1], labels[:1])
    labels[1] = UNKNOWN
    assert torch.allclose(head(latent, labels), known)
    assert head(latent, torch.full_like(labels, UNKNOWN)) == 0


def test_agents_are_spoken_first(tmp_path):
    config = SpeechConfig(
        "nowhere", "", str(tmp_path), device="cuda", sides="agent,user"
    )
    sides = [utterance.side for utterance in prepare(config)]
    assert sides == sorted(sides)
    assert set(sides) == {"agent", "user"}
