"""Captions by a tiny random LLaVA: the real class and processor, nonsense words."""

import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from framer.data.captions import read_captions
from framer.data.images import write_png
from framer.engine.caption import QUESTION, caption
from framer.errors import UserError

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "<image>", *(f"word{i}" for i in range(27))]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llava")
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, additional_special_tokens=["<image>"], **special)
    images = CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=4, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    processor.save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=8, patch_size=4, **small),
        text_config=LlamaConfig(vocab_size=len(WORDS), pad_token_id=0, bos_token_id=1, eos_token_id=2, **small),
        image_token_index=4,
        image_seq_length=4,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        write_png(folder / f"{name}.png", rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return folder


def test_every_image_gets_its_caption_and_the_same_again(llava, photos, tmp_path):
    for name in ("one", "two"):
        caption(photos, tmp_path / f"{name}.csv", model=str(llava), tokens=6, progress=False)
    captions = read_captions(tmp_path / "one.csv")
    assert captions.keys() == {"a", "b", "c"}
    assert all(0 < len(text.split()) <= 6 and set(text.split()) <= set(WORDS) for text in captions.values())
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    sidecar = (tmp_path / "one.json").read_text()
    assert json.loads(sidecar)["question"] == QUESTION and str(photos) not in sidecar and str(llava) not in sidecar


def test_a_caption_does_not_depend_on_the_other_images(llava, photos, tmp_path):
    caption(photos, tmp_path / "all.csv", model=str(llava), tokens=6, progress=False)
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "c.png").write_bytes((photos / "c.png").read_bytes())
    caption(tmp_path / "alone", tmp_path / "alone.csv", model=str(llava), tokens=6, progress=False)
    assert read_captions(tmp_path / "alone.csv")["c"] == read_captions(tmp_path / "all.csv")["c"]


def test_what_cannot_be_loaded_is_one_line(photos, tmp_path):
    with pytest.raises(UserError, match="no image-to-text model") as caught:
        caption(photos, tmp_path / "c.csv", model=str(tmp_path), progress=False)
    assert "\n" not in str(caught.value) and not (tmp_path / "c.csv").exists()
    with pytest.raises(UserError, match=r"ends in \.csv"):
        caption(photos, tmp_path / "c.txt", model=str(tmp_path), progress=False)
