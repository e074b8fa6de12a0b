"""Models with records, as runs leave them, to be compared, and evaluations with given numbers."""

from functools import cache
from pathlib import Path

from ncatool.evaluation.measures import measure_model
from ncatool.evaluation.models import Candidate, Evaluation
from ncatool.evaluation.protocol import Protocol
from ncatool.files.toml import write_toml
from ncatool.nca.model_file import save_model
from tests.rendering.test_playback import lively

HOSTILE = "<script>window.hacked=1</script>"
SHORT = ["--rollouts", "2", "--steps", "200"]


def save_with_record(path, loss="l2", regime="persistent", weights=1.0, **config):
    """Write a model, its record and its curve, as a run leaves them; return the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    model = lively(**config)
    changed = model.weights._replace(output_weight=model.weights.output_weight * weights)
    model = type(model)(changed, model.config, model.target)
    save_model(path, model)
    record = {"train": {"loss": loss, "regime": regime, "seed": 3}, "target": {"source": "phantom"}}
    write_toml(path.with_suffix(".toml"), record)
    rows = "".join(f"{i},0.1,{0.1 / i},0.001,\n" for i in range(1, 30))
    path.with_suffix(".csv").write_text(f"iteration,loss,mse,learning_rate,events\n{rows}")
    return path


SOUND = {"dead": 0.0, "exploded": 0.0, "step_under_0.001": 90.0, "mse_before_damage": 1e-4}
"""Measures of a model that may be the best."""


def make_evaluation(name, value, target=None, **measures):
    """Return an evaluation with given numbers, of a model that is healthy and has grown unless they say otherwise."""
    model = lively()
    if target is not None:
        model = type(model)(model.weights, model.config, target)
    numbers = {"mse_later": value, "psnr_later": -value, "regeneration_halves": value, **SOUND, **measures}
    return Evaluation(Candidate(name, Path(name), model), numbers, measure_any())


@cache
def measure_any():
    return measure_model(lively(), Protocol(rollouts=1, steps=200))
