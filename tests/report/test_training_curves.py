from pathlib import Path

import pytest

from framer.errors import UserError
from framer.provenance.cards import write_card
from framer.report.training_curves import POINTS, Curve, read_curves


def log(folder: Path, losses: list[float]) -> None:
    rows = [f"control,{loss},{step},0.1\n" for step, loss in enumerate(losses, 1)]
    (folder / "log.csv").write_text("stage,loss,step,lr\n" + "".join(rows))


def test_read(tmp_path: Path):
    log(tmp_path, [4.0, 2.0])
    (tmp_path / "heldout.csv").write_text("stage,step,loss\ncontrol,0,3\ncontrol,2,1.5\n")
    assert read_curves(tmp_path) == {"control": Curve((1, 2), (4.0, 2.0), ((0, 3.0), (2, 1.5)))}


def test_stages_and_framer_terms_are_kept_apart(tmp_path: Path):
    text = "stage,step,loss,l2,framer,lpips\npixel,0,5,2,3,\npixel,1,4,2.5,1.5,\nsemantic,0,1,,,1\n"
    (tmp_path / "log.csv").write_text(text)
    (tmp_path / "heldout.csv").write_text("stage,step,loss\npixel,0,3\nsemantic,0,7\n")
    assert read_curves(tmp_path) == {
        "pixel": Curve((0, 1), (2.0, 2.5), ((0, 3.0),)),
        "semantic": Curve((0,), (1.0,), ((0, 7.0),)),
    }


def test_no_step_is_no_curve(tmp_path: Path):
    assert read_curves(tmp_path) == {}
    log(tmp_path, [])
    assert read_curves(tmp_path) == {}


def test_a_log_that_the_card_lists_is_required(tmp_path: Path):
    log(tmp_path, [4.0])
    write_card(tmp_path, "run", ["log.csv"])
    assert read_curves(tmp_path).keys() == {"control"}
    (tmp_path / "log.csv").unlink()
    with pytest.raises(UserError) as error:
        read_curves(tmp_path)
    assert (error.value.code, error.value.path) == ("missing", str(tmp_path / "log.csv"))


def test_long_logs_are_averaged(tmp_path: Path):
    log(tmp_path, [float(step % 5) for step in range(POINTS * 5)])
    curve = read_curves(tmp_path)["control"]
    assert len(curve.steps) == POINTS
    assert curve.steps[-1] == POINTS * 5
    assert set(curve.losses) == {2.0}


def test_a_damaged_log_is_named(tmp_path: Path):
    (tmp_path / "log.csv").write_text("step,loss\n1,much\n")
    with pytest.raises(UserError, match=r"log\.csv: needs the columns stage, step and loss"):
        read_curves(tmp_path)
