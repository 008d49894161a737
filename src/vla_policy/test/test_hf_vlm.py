"""Published VLMs as backbones: they read what transformers' own model reads, and an action expert can use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from toy_vlms import save, tokenizer

from vla_core.errors import ConfigError, PolicyError, UnknownNameError, WeightsError
from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.blocks.hf_families import patches
from vla_policy.core.blocks.hf_vlm import HfVlm
from vla_policy.core.sight import Sight, spoken, written
from vla_policy.core.systems.pi0 import Pi0, Pi0Config
from vla_policy.core.systems.system import Labels
from vla_policy.core.words import BEGIN, END, PAD
from vla_policy.training.toy_world import SIZES, fitted, toy_batch

FAMILIES = ["paligemma", "smolvlm", "qwen2_5_vl"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in FAMILIES}
    return {kind: (folder, save(kind, folder)) for kind, folder in folders.items()}


def make(kind: str, models: dict[str, tuple[Path, Any]], **options: Any) -> HfVlm:
    section = {"block": "hf_vlm", "path": str(models[kind][0]), "state": False, "words": 70, **options}
    if kind == "qwen2_5_vl":
        section.setdefault("image", 56)
    backbone = make_backbone(section, SIZES)
    assert isinstance(backbone, HfVlm)
    return backbone.eval()


def shown(rows: int, texts: tuple[str, ...], seed: int = 0) -> Sight:
    sight, _ = toy_batch(rows)
    rgb = torch.randint(0, 256, (rows, 2, 56, 56, 3), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    return sight._replace(rgb=rgb, instruction=written(texts))


def whole(kind: str, model: Any, backbone: HfVlm, sight: Sight, suffix: list[int]) -> Any:
    """What transformers' model makes of the first row and some words behind it, from ids and pixels."""
    see, text = backbone.see, spoken(sight.instruction)[0]  # type: ignore[arg-type]
    prompt, image = see.prompt, model.config.image_token_id
    per_view = (see.lead - len(see.pieces[prompt.before])) // SIZES.views
    seen = per_view - len(see.pieces[prompt.opened]) - len(see.pieces[prompt.closed])
    ids = list(see.pieces[prompt.before])
    for _ in range(SIZES.views):
        ids += [*see.pieces[prompt.opened], *[image] * seen, *see.pieces[prompt.closed]]
    ids += [2] * prompt.begin + backbone.words.pieces(text + prompt.after)
    kinds = torch.tensor([[0] * len(ids) + [1] * len(suffix)])
    ids += suffix
    pixels = F.interpolate(
        sight.rgb[0].permute(0, 3, 1, 2).float() / 255, (see.edge, see.edge), mode="bilinear", align_corners=False
    )
    pixels = (pixels - see.mean) / see.std
    given = torch.tensor([ids])
    if kind == "paligemma":
        return model(input_ids=given, pixel_values=pixels, token_type_ids=kinds, output_hidden_states=True)
    if kind == "smolvlm":
        return model(input_ids=given, pixel_values=pixels[None], output_hidden_states=True)
    grid = torch.tensor([[1, see.edge // 14, see.edge // 14]] * SIZES.views)
    images = (given == image).int()
    return model(
        input_ids=given, pixel_values=patches(pixels, 14, 2, 2), image_grid_thw=grid, mm_token_type_ids=images,
        output_hidden_states=True,
    )  # fmt: skip


@pytest.mark.parametrize("kind", FAMILIES)
@torch.no_grad()
def test_it_reads_and_speaks_as_transformers_does(kind: str, models: dict[str, tuple[Path, Any]]) -> None:
    """From images and text to states and logits, padding between instruction and words, a longer row beside it."""
    backbone, model = make(kind, models), models[kind][1]
    sight = shown(2, ("reach the bowl", "reach the big red bowl"))
    said = torch.tensor([backbone.words.encode("go on"), backbone.words.encode("stop.")])
    read = backbone.read(sight)
    hidden, _ = backbone.extend(read, backbone.embedding(said))
    logits = backbone.speak(hidden)[0, :, 3:]
    out = whole(kind, model, backbone, sight, [int(i) - 3 for i in said[0]])
    expected = out.hidden_states[-1][0]
    count = int(read.valid[0].sum())
    torch.testing.assert_close(read.hidden[0][read.valid[0]], expected[:count], atol=2e-4, rtol=1e-3)
    known = out.logits[0, count:].index_fill(-1, backbone.speak.special, -torch.inf)
    torch.testing.assert_close(logits, known, atol=5e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", FAMILIES)
@torch.no_grad()
def test_padding_and_neighbours_have_no_influence(kind: str, models: dict[str, tuple[Path, Any]]) -> None:
    backbone = make(kind, models, state=True)
    both = shown(2, ("reach it", "reach the other thing"))
    alone = both.rows(slice(0, 1))._replace(instruction=written(["reach it"]))
    first, second = backbone.read(both), backbone.read(alone)
    ok = second.valid[0]
    torch.testing.assert_close(first.hidden[0][ok], second.hidden[0][ok], atol=1e-4, rtol=1e-3)
    for (key, value), (key_alone, value_alone) in zip(first.cache, second.cache, strict=True):
        torch.testing.assert_close(key[:1, :, ok], key_alone[:, :, ok], atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(value[:1, :, ok], value_alone[:, :, ok], atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_the_prefix_sees_itself_as_it_is_told(models: dict[str, tuple[Path, Any]]) -> None:
    """Whether an image knows of the instruction behind it."""
    first, second = shown(1, ("reach it",)), shown(1, ("leave it",))
    for kind, prefix, knows in (
        ("paligemma", "as_trained", True),
        ("smolvlm", "as_trained", False),
        ("smolvlm", "bidirectional", True),
        ("paligemma", "causal", False),
    ):
        backbone = make(kind, models, prefix=prefix)
        place = backbone.see.lead - 1
        pair = [backbone.read(sight).hidden[0, place] for sight in (first, second)]
        assert torch.allclose(*pair, atol=1e-6) != knows


@torch.no_grad()
def test_greedy_words_are_the_likeliest_of_each_whole_sequence(models: dict[str, tuple[Path, Any]]) -> None:
    backbone, model = make("smolvlm", models), models["smolvlm"][1]
    sight, begin = shown(1, ("reach it",)), torch.tensor([BEGIN])
    said, passes = backbone.say(backbone.read(sight), begin, 5)
    suffix = [int(backbone.embedding.places[BEGIN])]
    for token in said[0].tolist():
        logits = whole("smolvlm", model, backbone, sight, suffix).logits[0, -1]
        special = backbone.embedding.places[:3].tolist()
        best = int(logits.argmax())
        assert token == (special.index(best) if best in special else best + 3)
        suffix.append(int(backbone.embedding.places[token]))
        if token == END:
            break
    assert passes == said.shape[1]


def test_words_go_there_and_back(models: dict[str, tuple[Path, Any]]) -> None:
    backbone = make("paligemma", models)
    rows = backbone.texts(["stop", "reach the bowl"])
    assert rows[:, 0].tolist() == [BEGIN, BEGIN]
    assert rows[0, 5:].tolist() == [END] + [PAD] * (rows.shape[1] - 6)
    assert [backbone.words.decode(row[1:].tolist()) for row in rows] == ["s t o p", "r e a c h   t h e   b o w l"]
    assert backbone.words.decode([*backbone.words.encode("a"), END, *backbone.words.encode("b")]) == "a"


@torch.no_grad()
def test_added_tokens_are_learned_and_the_published_ones_stay(models: dict[str, tuple[Path, Any]]) -> None:
    plain, more = make("smolvlm", models), make("smolvlm", models, added=5)
    assert more.embedding.num_embeddings == plain.embedding.num_embeddings + 5
    assert len(more.words) == plain.embedding.num_embeddings  # none of the added ones is a word
    tokens = torch.arange(plain.embedding.num_embeddings)
    assert torch.equal(more.embedding(tokens), plain.embedding(tokens))
    new = torch.arange(5) + len(more.words)
    torch.testing.assert_close(more.embedding(new), more.embedding.added)
    hidden = torch.randn(3, 32)
    logits = more.speak(hidden)
    torch.testing.assert_close(logits[:, : len(more.words)], plain.speak(hidden))
    usual = torch.isfinite(logits[0])
    torch.testing.assert_close(logits[:, usual], F.linear(hidden, more.speak.weight)[:, usual])
    assert (~usual).sum() == 3  # special tokens have one number each


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_action_expert_reads_its_keys_and_values(kind: str, models: dict[str, tuple[Path, Any]]) -> None:
    """pi0 on a published backbone: what is shown and said reaches the chunk, and so does the gradient back."""
    torch.manual_seed(0)
    section = {"block": "hf_vlm", "path": str(models[kind][0]), "words": 70}
    section |= {"image": 56} if kind == "qwen2_5_vl" else {}
    system = fitted(Pi0(Pi0Config(section, {"width": 24, "hidden": 48}, samples=1, prefix_steps=0, steps=3), SIZES))
    assert system.wanted() == {"rgb", "instruction"}
    noise = torch.randn(1, SIZES.horizon, SIZES.action_width)
    drawn = [
        system.draw(sight, noise).chunk
        for sight in (shown(1, ("reach it",)), shown(1, ("leave it",)), shown(1, ("reach it",), seed=1))
    ]
    assert not torch.allclose(drawn[0], drawn[1], atol=1e-5) and not torch.allclose(drawn[0], drawn[2], atol=1e-5)
    sight, (_, labels) = shown(4, ("reach it",) * 4), toy_batch(4)
    labels = Labels(system.normalised(labels.chunk), labels.known)
    optimiser = torch.optim.Adam(system.parameters(), lr=3e-3)
    history = []
    for step in range(12):
        torch.manual_seed(step % 2)
        loss = system.losses(sight, labels)["flow"]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        history.append(float(loss.detach()))
    assert sum(history[-2:]) < 0.9 * sum(history[:2])
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in system.backbone.see.vision.parameters())


def test_qwens_patches_are_in_its_order() -> None:
    """As transformers' own processor lays them out."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    image = torch.randn(3, 56, 84)
    expected, rows, columns = Qwen2VLImageProcessorPil().patchify(image.numpy(), 14, 2, 2)
    assert (rows, columns) == (4, 6)
    np.testing.assert_array_equal(patches(image[None], 14, 2, 2).numpy(), expected)


def test_texts_survive_as_bytes() -> None:
    texts = ("put the düse there", "", "näher")
    assert spoken(written(texts)) == texts


def test_what_does_not_fit(models: dict[str, tuple[Path, Any]], tmp_path: Path) -> None:
    backbone = make("paligemma", models, words=10)
    with pytest.raises(PolicyError, match="tokens"):
        backbone.read(shown(1, ("reach the thing behind the bowl",)))
    sight, _ = toy_batch(1)
    with pytest.raises(PolicyError, match="images"):
        backbone.read(sight)
    with pytest.raises(ConfigError, match="28"):
        make("paligemma", models, image=30)
    with pytest.raises(ConfigError, match="as_trained"):
        make("paligemma", models, prefix="sideways")
    with pytest.raises(UnknownNameError, match="float32"):
        make("smolvlm", models, dtype="float8")
    with pytest.raises(WeightsError, match=r"config\.json"):
        make_backbone({"block": "hf_vlm", "path": str(tmp_path)}, SIZES)


def test_partial_and_foreign_folders(tmp_path: Path) -> None:
    save("smolvlm", tmp_path)
    section = {"block": "hf_vlm", "path": str(tmp_path)}
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    lost = next(name for name in tensors if "layers.1.mlp.up_proj" in name and "text" in name)
    save_file({name: t for name, t in tensors.items() if name != lost}, file, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"1 missing keys such as .*up_proj"):
        make_backbone(section, SIZES)
    import transformers

    transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path)
    with pytest.raises(UnknownNameError, match="paligemma, qwen2_5_vl, smolvlm"):
        make_backbone(section, SIZES)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    save("smolvlm", tmp_path, vocab_size=64)
    assert len(tokenizer(tmp_path)) > 64
    with pytest.raises(WeightsError, match="64 embeddings"):
        make_backbone({"block": "hf_vlm", "path": str(tmp_path)}, SIZES)
