"""Weights of metrics and losses in the workflow: which it fetches, which are here, and what depends on their bytes."""

import os
from collections.abc import Iterable
from typing import Literal

from framer.provenance.cards import CARD
from framer.provenance.hashing import digest
from framer.scoring.protocols import Metric, Protocol
from framer.weights.manifest import WeightsManifest
from framer.weights.store import files, folder, hashes

Standing = Literal["kept", "wanted", "loose", "missing"]


class Weights:
    """The manifests of single files. Each stands in one of four ways:

        kept     its card is here and describes its files: jobs depend on the card, which holds their hashes
        wanted   a file is missing and can be fetched, or a package has it: the workflow does, and jobs depend on the
                 card to come
        loose    its files are here without a card that describes them: jobs depend on their hashes, a parameter
        missing  a file is missing and must be downloaded manually, or there is no network and no package has it: `n/a`,
                 or an error if strict

    A metric whose weights cannot be fetched is `n/a` as well, unless the study is strict; `may_fail` names them.

    From `wanted` to `kept` nothing changes for a job that ran in between, so that it does not run again.

    Args:
        network: whether the workflow may fetch; a study of tiny networks, which needs none, does not.
    """

    def __init__(self, network: bool):
        self.network = network and os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0")
        loaded = {name: WeightsManifest.load(name) for name in WeightsManifest.known()}
        self.manifests = {name: manifest for name, manifest in loaded.items() if manifest.files}
        self._standings: dict[str, Standing] = {}

    def standing(self, name: str) -> Standing:
        """How a manifest stands, as it was when it was first asked."""
        if name not in self._standings:
            self._standings[name] = self._standing(self.manifests[name])
        return self._standings[name]

    def _standing(self, manifest: WeightsManifest) -> Standing:
        recorded = manifest.recorded(folder()).get("payload", {})
        if missing := set(manifest.missing(folder())):
            open_to_all = not manifest.gated and not manifest.unaccepted(folder())
            open_to_all &= all(file.at for file in manifest.files if file.path in missing)
            embedded = manifest.embedded and manifest.embedded.located()
            # Snakemake would not make a card that is there.
            return "wanted" if ((open_to_all and self.network) or embedded) and not recorded else "missing"
        home = folder() / manifest.id
        found = {os.path.relpath(folder() / path, home): sha for path, sha in hashes(files([manifest.id])).items()}
        return "kept" if recorded == found else "loose"

    def may_fail(self, name: str) -> bool:
        """Whether the workflow fetches a manifest that only the network has."""
        embedded = self.manifests[name].embedded
        return self.standing(name) == "wanted" and not (embedded and embedded.located())

    @staticmethod
    def of_metrics(metrics: Iterable[Metric]) -> list[str]:
        """The manifests of all weights that some metrics need."""
        return sorted({name for metric in metrics for name in metric.weights})

    def cards(self, names: Iterable[str]) -> list[str]:
        """The cards on which jobs that need some manifests depend."""
        return [(folder() / name / CARD).as_posix() for name in names if self.standing(name) in ("kept", "wanted")]

    def missing(self, names: Iterable[str]) -> dict[str, str]:
        """Those of some manifests that are missing and will not be fetched, each with the command that fetches them."""
        return {name: self.manifests[name].how_to_get(folder()) for name in names if self.standing(name) == "missing"}

    def loose(self, names: Iterable[str]) -> str | None:
        """A digest of the bytes of those of some manifests that are loose; None where none is."""
        found = {name: hashes(files([name])) for name in names if self.standing(name) == "loose"}
        return digest(found) if found else None

    def state(self, protocol: str, metrics: list[str]) -> str:
        """What some metrics are computed with, such as `psnr@rgb,c0 musiq@koniq lpips@alex-v0.1=1f0e6c2a9b3d`.

        The exact id of each metric, and a digest of the bytes of loose weights. Others are inputs by their cards, and
        missing ones have none: where weights come, go or change, either this changes or the inputs do.

        Raises:
            UserError: unknown protocol or metric.
        """
        computed = []
        for metric in Protocol.named(protocol).select(metrics):
            loose = self.loose(metric.weights)
            computed.append(metric.id + (f"={loose}" if loose else ""))
        return " ".join(computed)
