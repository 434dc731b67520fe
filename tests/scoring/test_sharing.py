"""Protocols that are scored together: the files of each as if alone, and no image or metric twice."""

from pathlib import Path

import pytest

from framer.cli import main
from framer.data import image_folder
from framer.data.images import write_index
from framer.errors import UserError
from framer.provenance.cards import write_card
from framer.scoring import folders, psnr_ssim, scorer
from framer.scoring.folders import Task, score_folders
from framer.scoring.protocols import Protocol

METRICS = ["psnr", "ssim", "niqe"]


def seal(folder: Path) -> None:
    write_index(folder, [path.name for path in folder.glob("*.png")])
    write_card(folder, "images", ["index.csv"])


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A protocol whose PSNR is that of `framer`, and whose SSIM is not."""
    path = tmp_path / "own.yaml"
    metrics = "psnr: {color: rgb, border: 0}, ssim: {color: rgb, border: 0}, niqe: {color: y-yiq-full, border: 0}"
    path.write_text(f"summary: mine\nmetrics: {{{metrics}}}\n")
    return str(path)


@pytest.mark.parametrize("threads", [1, 2])
def test_each_protocol_gets_the_files_that_it_gets_alone(
    pairs: tuple[Path, Path], weights: Path, tmp_path: Path, own: str, threads: int
) -> None:
    names = ["framer", own, "osediff"]
    alone = {name: tmp_path / "alone" / f"{number}.csv" for number, name in enumerate(names)}
    for name, out in alone.items():
        score_folders([Task(*pairs, {name: out})], METRICS, progress=False)
    together = [str(tmp_path / "together" / out.name) for out in alone.values()]
    command = ["score", "--sr", str(pairs[0]), "--hr", str(pairs[1]), "--metrics", ",".join(METRICS)]
    assert main([*command, "--protocol", *names, "--out", *together, "--threads", str(threads)]) == 0
    for out in alone.values():
        for suffix in (".csv", ".json"):
            other = tmp_path / "together" / out.with_suffix(suffix).name
            assert out.with_suffix(suffix).read_bytes() == other.read_bytes()
    assert len(list((tmp_path / "together").glob("[!.]*"))) == 6


def test_one_definition_is_computed_once_and_each_file_read_once(
    pairs: tuple[Path, Path], weights: Path, tmp_path: Path, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in pairs:
        seal(folder)
    read, hashed, computed = [], [], []
    real, real_hash, psnr = scorer.read_hashed, image_folder.sha256_file, psnr_ssim.psnr
    monkeypatch.setattr(scorer, "read_hashed", lambda path: read.append(path) or real(path))
    for module in (image_folder, folders):
        monkeypatch.setattr(module, "sha256_file", lambda path: hashed.append(path) or real_hash(path))
    monkeypatch.setitem(psnr_ssim.FUNCTIONS, "psnr", lambda *a, **b: computed.append(b) or psnr(*a, **b))
    outs = {name: tmp_path / f"{Path(name).stem}.csv" for name in ("framer", own, "osediff")}
    score_folders([Task(*pairs, outs)], METRICS, progress=False)
    assert sorted(read) == sorted(folder / f"image_{i}.png" for folder in pairs for i in range(3))
    assert not hashed
    ids = {Protocol.named(name).select(["psnr"])[0].id for name in outs}
    assert (len(ids), len(computed)) == (2, 2 * 3)


@pytest.mark.parametrize("side", [0, 1])
def test_an_image_that_its_index_does_not_list_is_refused(pairs: tuple[Path, Path], tmp_path: Path, side: int) -> None:
    folder = pairs[side]
    seal(folder)
    changed = folder / "image_1.png"
    changed.write_bytes(changed.read_bytes() + b"\0")  # the same pixels
    with pytest.raises(UserError) as error:
        score_folders([Task(*pairs, {"framer": tmp_path / "s.csv"})], ["psnr"], progress=False)
    assert (error.value.path, error.value.code) == (str(changed), "mismatch")
    assert not list(tmp_path.glob("s.*"))
