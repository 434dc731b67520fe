import itertools

import pytest

from framer.errors import UserError
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

    metrics = [metric for protocol in PROTOCOLS.values() for metric in protocol.metrics]
    for one, other in itertools.combinations(metrics, 2):
        assert (one.id == other.id) == (definition(one) == definition(other))


def test_definitions_agree_with_pyiqa_on_direction_and_reference():
    configs = pytest.importorskip("pyiqa.default_model_configs").DEFAULT_CONFIGS
    for metric in (metric for protocol in PROTOCOLS.values() for metric in protocol.metrics):
        config = configs[metric.pyiqa]
        assert config.get("lower_better", False) is not metric.higher_is_better
        assert (config["metric_mode"] == "FR") is metric.needs_hr


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


def test_a_protocol_defines_a_name_once():
    psnr = PROTOCOLS["framer"].metrics[0]
    with pytest.raises(ValueError, match="twice"):
        Protocol("mine", "", (psnr, psnr))


def test_headings_point_to_better():
    assert [metric.heading for metric in PROTOCOLS["framer"].select(["psnr", "lpips"])] == ["PSNR ↑", "LPIPS ↓"]
