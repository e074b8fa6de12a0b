"""Every export format beside the dense rule: 64 steps, largest difference of any channel.

    python -m tests.benchmarks.parity [--quick]

Models of 16 and 12 channels, 128 and 64 hidden units, all filters, both boundaries; random weights of
a size at which the states stay lively.
"""

import argparse
import tempfile
from itertools import product
from pathlib import Path

import torch

from ncatool.config.names import Boundary, ExportFormat, Filter
from ncatool.config.schema import ModelConfig, TargetConfig
from ncatool.data.targets import load_target
from ncatool.errors import UsageError
from ncatool.formats.distill import check_supported
from ncatool.formats.exporting import EXPORT_KINDS, check_parity
from ncatool.nca.model_file import ModelData
from ncatool.nca.weights import draw_weights


def lively(channels, hidden, filter_, boundary):
    config = ModelConfig(channels=channels, hidden=hidden, filter=filter_, boundary=boundary)
    generator = torch.Generator().manual_seed(1)
    weights = draw_weights(config, generator)
    weights = weights._replace(output_weight=torch.randn(channels, hidden, generator=generator) * 0.01)
    return ModelData(weights, config, load_target(TargetConfig(size=16, padding=2)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one model a filter")
    quick = parser.parse_args().quick
    combinations = list(product((16, 12), (128, 64), Filter, Boundary))
    chosen = combinations[:: 5 if quick else 1]
    worst = {}
    for channels, hidden, filter_, boundary in chosen:
        model = lively(channels, hidden, filter_, boundary)
        for form in ExportFormat:
            try:
                check_supported(model) if form is ExportFormat.JSON else None
            except UsageError:
                continue
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"model.{form}"
                EXPORT_KINDS[form].write(model, {}, "model", path)
                found = check_parity(model, path, form)
            worst.setdefault(form, []).append(found.difference)
    for form, differences in worst.items():
        print(f".{form:5} {len(differences):3} models, largest difference {max(differences):.2e}")


if __name__ == "__main__":
    main()
