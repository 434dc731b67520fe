import itertools
from pathlib import Path

import pytest

from framer.errors import UserError
from framer.scoring.definitions import Lpips, Musiq, Psnr
from framer.scoring.protocols import PROTOCOLS, Metric, Protocol


def test_a_name_means_different_things_under_different_protocols():
    ids = {name: {m.name: m.id for m in protocol.metrics} for name, protocol in PROTOCOLS.items()}
    assert ids["osediff"]["psnr"] == "psnr@y-bt601-limited,c0"
    assert ids["framer"]["psnr"] == "psnr@rgb,c0"
    differ = {name for name in ids["framer"] if ids["framer"][name] != ids["osediff"][name]}
    assert differ == {"psnr", "ssim", "maniqa"}


def test_an_id_stands_for_one_definition():
    def definition(metric: Metric) -> tuple:
        return metric.pyiqa, dict(metric.options), metric.weights, metric.higher_is_better, metric.needs_hr

    variants = [
        *(Psnr(color=color, border=border) for color in ("rgb", "y-yiq-full") for border in (0, 4)),
        *(Lpips(net=net) for net in ("alex", "vgg")),
        *(Musiq(checkpoint=name) for name in ("koniq", "ava")),
    ]
    metrics = [m for protocol in PROTOCOLS.values() for m in protocol.metrics] + [v.metric for v in variants]
    for one, other in itertools.combinations(metrics, 2):
        assert (one.id == other.id) == (definition(one) == definition(other))


def test_definitions_agree_with_pyiqa_on_direction_and_reference():
    configs = pytest.importorskip("pyiqa.default_model_configs").DEFAULT_CONFIGS
    for metric in (metric for protocol in PROTOCOLS.values() for metric in protocol.metrics):
        config = configs[metric.pyiqa]
        assert config.get("lower_better", False) is not metric.higher_is_better
        # pyiqa calls FID no-reference, since it can compare with statistics of a set.
        assert (config["metric_mode"] == "FR" or metric.of_set) is metric.needs_hr


def test_selection_keeps_the_order_of_the_protocol():
    assert [metric.name for metric in PROTOCOLS["osediff"].select(["niqe", "psnr"])] == ["psnr", "niqe"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["psnr", "sism"], "unknown metric 'sism', did you mean 'ssim'?"),
        ([], "no metric named"),
        (["psnr", "psnr"], "'psnr' is named twice"),
    ],
)
def test_bad_selections_are_refused(names: list[str], message: str):
    with pytest.raises(UserError, match="protocol 'framer'") as error:
        PROTOCOLS["framer"].select(names)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_protocol():
    with pytest.raises(UserError, match="unknown protocol 'osedif', did you mean 'osediff'"):
        Protocol.named("osedif")


def test_seesr_crops_a_border():
    ids = {metric.name: metric.id for metric in PROTOCOLS["seesr"].metrics}
    assert (ids["psnr"], ids["niqe"]) == ("psnr@y-bt601-limited,c4", "niqe@live,y-yiq-full,c4")
    sides = {metric.name: metric.min_side for metric in PROTOCOLS["seesr"].metrics}
    assert (sides["psnr"], sides["ssim"], sides["niqe"]) == (9, 19, 104)


OWN = "summary: mine\nmetrics:\n  maniqa: {checkpoint: kadid}\n  psnr: {color: rgb, border: 8}\n"


def test_a_protocol_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = Path("config", "protocols", "mine.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(OWN)
    for name in ("mine", str(path)):
        protocol = Protocol.named(name)
        assert (protocol.name, protocol.summary) == ("mine", "mine")
        assert [metric.id for metric in protocol.metrics] == ["psnr@rgb,c8", "maniqa@kadid,grid20"]
    with pytest.raises(UserError, match="unknown protocol 'mime', did you mean 'mine'"):
        Protocol.named("mime")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "mine",
            OWN.replace("kadid", "kadit"),
            "metrics.maniqa.checkpoint: Input should be 'pipal', 'koniq' or 'kadid'",
        ),
        ("mine", OWN.replace("psnr", "pnsr"), "metrics: unknown key 'pnsr', did you mean 'psnr'?"),
        ("mine", OWN.replace("border", "boarder"), "did you mean 'border'?"),
        ("mine", OWN.replace("border: 8", "border: -1"), "metrics.psnr.border"),
        ("mine", "summary: none\nmetrics: {}\n", "metrics: defines none"),
        ("osediff", OWN, "rename the file"),
    ],
)
def test_a_mistake_in_it_is_one_line(tmp_path: Path, name: str, text: str, message: str):
    path = tmp_path / f"{name}.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        Protocol.named(str(path))
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_headings_point_to_better():
    assert [metric.heading for metric in PROTOCOLS["framer"].select(["psnr", "lpips"])] == ["PSNR ↑", "LPIPS ↓"]
