"""The recipes other than `paper`: the released code's, and one per ablation."""

from types import MappingProxyType
from typing import Any

RELEASED: MappingProxyType[str, Any] = MappingProxyType(
    {
        "students": "all",
        "masks": "quantile",
        "keys": "teachers+negatives",
        "reduction": "mean",
        "weight": 0.1,
    }
)
"""Where the released code leaves the paper."""

ABLATIONS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        # Table 2: what is distilled. The third row is `paper`.
        "noise_only": {"objective": "none"},
        "l2": {"objective": "l2"},
        # Table 3: who teaches, and against what.
        "fixed_teacher": {"teacher": "middle"},
        "no_negatives": {"negatives": "none"},
        "fixed_teacher_no_negatives": {"teacher": "middle", "negatives": "none"},
        # Table 4: which loss on which band.
        "intra_both": {"high": "intra"},
        "inter_both": {"low": "inter"},
        "swapped": {"low": "inter", "high": "intra"},
        # Table 5: the two weights.
        "no_faw": {"faw": False},
        "no_fam": {"fam": False},
        "no_faw_no_fam": {"faw": False, "fam": False},
        # Where the paper is silent.
        "cutoff_0.1": {"cutoff": 0.1},
        "cutoff_0.4": {"cutoff": 0.4},
        "complex_feature": {"feature": "complex"},
        "raw_feature": {"feature": "raw"},
        "output_space": {"space": "output"},
        "temperature_0.1": {"temperature": 0.1},
        "negatives_with_gradient": {"stop_negatives": False},
        "earlier_negatives": {"negatives": "earlier"},
        "absolute_discrepancy": {"discrepancy": "absolute"},
        "teacher_discrepancy": {"discrepancy": "teacher"},
        # Where the released code leaves the paper, one step at a time.
        "all_students": {"students": "all"},
        "quantile_masks": {"masks": "quantile"},
        "hard_keys": {"keys": "teachers+negatives"},
        "mean_layers": {"reduction": "mean"},
        "weight_0.1": {"weight": 0.1},
    }
)
"""The fields in which each ablation differs from `paper`."""
