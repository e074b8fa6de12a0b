"""Commands and options of other tools that have no counterpart of another name here, and what to do instead."""

from __future__ import annotations

from collections.abc import Mapping

OTHER_COMMANDS = {
    "fetch": "download get pull list ls datasets dataset data medmnist",
    "train": "fit learn grow run start new create optimise optimize finetune",
    "resume": "continue restart go-on retrain",
    "sweep": "grid search tune hpo multirun experiment experiments matrix batch",
    "render": "play show view animate animation watch gif video movie predict infer inference generate sample draw "
    "simulate rollout preview visualize visualise plot display",
    "compare": "evaluate evaluation eval test measure measures benchmark score metrics validate val bench report diff",
    "export": "convert save deploy page html onnx web",
    "import": "load read bring",
    "info": "inspect describe summary about stat stats show-model model",
    "demo": "example tour try hello",
    "--help": "help usage man commands",
    "--version": "version",
}
"""What users of other tools type in place of our commands."""

_MODEL_FLAGS = "model models input file checkpoint ckpt weights load path m i"
_OUTPUT_FLAGS = "out output output-file output-path outfile save save-as dest o output-dir out-dir gif mp4 html onnx to"
_RESUME_FLAGS = (
    "resume resume-from resume-from-checkpoint resume-training ckpt-path ckpt continue restart auto-resume last"
)
_TRAINING: Mapping[str, str] = {
    "patience early-stopping early-stop": "there is no early stopping; --iterations says how long to train",
    "weight-decay wd momentum beta1 beta2 grad-clip gradient-clip-val": "it is fixed; --optimiser, --learning-rate "
    "and --schedule are what can be set",
    "warmup warmup-steps warmup-epochs warmup-ratio": "the first tenth of the iterations is the warm-up",
    "eval evaluate val validate test do-eval eval-every": "measure a model: ncatool compare MODEL",
}
ADVICE: dict[str, Mapping[str, str]] = {
    "render": {
        _MODEL_FLAGS: "the model stands alone: ncatool render MODEL OUT.gif",
        _OUTPUT_FLAGS: "outputs follow the model: ncatool render MODEL OUT.gif",
        "loop repeat": "GIFs repeat without end; --hold says for how long the last frame stays",
    },
    "compare": {_MODEL_FLAGS: "models stand alone: ncatool compare MODEL..."},
    "export": {
        _MODEL_FLAGS: "the model stands alone: ncatool export MODEL OUT.html",
        _OUTPUT_FLAGS: "the output follows the model: ncatool export MODEL OUT.html",
    },
    "import": {
        _MODEL_FLAGS: "the file stands alone: ncatool import FILE OUT.safetensors",
        _OUTPUT_FLAGS: "the output follows the file: ncatool import FILE OUT.safetensors",
    },
    "resume": {_MODEL_FLAGS: "the model stands alone: ncatool resume MODEL"},
    "info": {_MODEL_FLAGS: "the model stands alone: ncatool info MODEL"},
    "fetch": {
        "dataset datasets data name flag set": "sets stand alone: ncatool fetch chestmnist",
        "output-dir out-dir outdir dest destination save-dir": "the folder of the sets is --root FOLDER",
        "all": "write all without hyphens: ncatool fetch all",
        "help-sets sets": "see them: ncatool fetch --list",
    },
    "sweep": {
        "plan file sweep grid config cfg config-file": "the plan stands alone: ncatool sweep SWEEP.toml",
        _RESUME_FLAGS: "the same command again does what is missing",
        **_TRAINING,
    },
    "train": {
        _RESUME_FLAGS: "go on with a run: ncatool resume MODEL",
        **_TRAINING,
        "do-train train": "leave it out: ncatool train TARGET",
    },
    "": {
        "verbose v vv log-level loglevel verbosity": "progress is shown without it; --traceback tells more of an error",
        "version": "ncatool --version",
        "help-all h man usage": "ask for --help",
    },
}
"""For each command, what to do in place of options that it does not have; "": for every command."""
