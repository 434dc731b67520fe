"""A file of scores that no table can use is refused with the file and the image."""

from pathlib import Path

import pytest

from framer.errors import UserError
from framer.scoring.score_file import read_file
from tests.fixtures.finished_study import write_scores


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused_by_file_and_image(tmp_path: Path, value: float):
    path = tmp_path / "osediff.csv"
    write_scores(path, {"a.png": {"psnr": 27.0, "ssim": 0.5}, "b.png": {"psnr": value, "ssim": 0.5}}, {})
    with pytest.raises(UserError) as error:
        read_file(path)
    assert (error.value.path, error.value.key, error.value.code) == (str(path), "b.png", "diverged")
