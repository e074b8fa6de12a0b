"""Plans of sweeps: which runs they ask for, and which plans are refused."""

import tomllib

import pytest

from ncatool.config.names import Filter, Regime
from ncatool.errors import UsageError
from ncatool.sweep.plan import parse_flags, plan_to_tables, read_plan


def make_plan(text="", max_runs=1000, **flags):
    return read_plan(tomllib.loads(text), "plan.toml", parse_flags(flags), max_runs)


def names(*args, **flags):
    return [plan.name for plan in make_plan(*args, **flags)]


def test_a_grid_is_the_product_of_its_lists():
    plans = make_plan('[base]\nhidden = 64\n[grid]\nfilter = ["sobel", "mean"]\ndamage = [false, true]\n')
    assert [plan.name for plan in plans] == ["sobel-no-damage", "sobel-damage", "mean-no-damage", "mean-damage"]
    assert {plan.config.model.hidden for plan in plans} == {64}
    assert plans[3].config.model.filter is Filter.MEAN
    assert plans[3].config.train.regime is Regime.REGENERATING
    assert plans[3].config.train.iterations > plans[2].config.train.iterations, "regeneration takes more"


def test_single_runs_and_replicates():
    runs = '[[runs]]\nname = "large"\nsize = 40\n[[runs]]\nhidden = 8\nseed = 5\n'
    text = f'[grid]\nloss = ["l1"]\n{runs}[replicates]\nseeds = 2'
    assert names(text) == ["l1-seed0", "l1-seed1", "large-seed0", "large-seed1", "hidden8-seed5"]
    assert [plan.config.train.seed for plan in make_plan(text)] == [0, 1, 0, 1, 5]
    assert names("[replicates]\nseeds = [7, 9]\n") == ["seed7", "seed9"]


def test_flags_alone():
    assert names(filter="sobel,scharr", damage="both", hidden="8,16", size="12")[:3] == [
        "hidden8-sobel-no-damage", "hidden8-sobel-damage", "hidden8-scharr-no-damage",
    ]  # fmt: skip
    one, other = make_plan(learning_rate="1e-3,0.002", checkpoint=False)
    assert (one.config.train.learning_rate, other.config.train.learning_rate) == (1e-3, 2e-3)
    assert not one.config.train.checkpoint


def test_flags_override_the_plan():
    base = "[base]\niterations = 9\ndamage = true\n"
    text = f'{base}[grid]\nfilter = ["sobel", "mean"]\n[[runs]]\nname = "x"\niterations = 5\n'
    assert {plan.config.train.iterations for plan in make_plan(text, iterations="3")} == {3}
    assert {plan.config.train.regime for plan in make_plan(text, regime="growing")} == {Regime.GROWING}
    assert names(text, filter="mean,gaussian") == ["mean", "gaussian", "x"]


def test_damage_and_regime_hold_together_or_are_refused():
    """`damage` is short for one of the regimes: the others are kept where it is off, and never dropped where it is on.

    A plan's own table gives way to its grid, as everywhere.
    """
    grid = "[grid]\ndamage = [false, true]\n"
    for base, expected in (("growing", "growing"), ("persistent", "persistent"), ("regenerating", "persistent")):
        plans = make_plan(f"[base]\nregime = '{base}'\n{grid}")
        assert [plan.config.train.regime for plan in plans] == [expected, "regenerating"]
    assert {plan.config.train.regime for plan in make_plan("[base]\ndamage = false\n[replicates]\nseeds = 2")} == {
        Regime.PERSISTENT
    }
    for flags in ({"damage": "both", "regime": "growing"}, {"damage": "no", "regime": "growing,regenerating"}):
        with pytest.raises(UsageError, match="--damage and --regime set the same thing"):
            make_plan(**flags)
    with pytest.raises(UsageError, match="damage is off, but --regime is regenerating"):
        make_plan(damage="no", regime="regenerating", seed="0,1")
    assert len(make_plan(damage="yes", regime="regenerating", seed="0,1")) == 2


def test_targets_in_names(tmp_path):
    (tmp_path / "a,b.png").touch()
    assert names(target="pictures/chest.png,organmnist3d@64:train:7:coronal") == [
        "chest",
        "organmnist3d@64_train_7_coronal",
    ]
    assert parse_flags({"target": "a,b.png"}) == {"target": ["a,b.png"]}


def test_long_names_are_cut_and_stay_different():
    text = "".join(f'[[runs]]\nname = "{"n" * 300}{i}"\nhidden = {i}\n' for i in (1, 2))
    one, other = names(text)
    assert one != other
    assert len(one) <= 120


def test_a_written_plan_is_the_same_plan():
    plans = make_plan(filter="sobel,mean", damage="both", steps="4-9", target="phantom,chest.png")
    again = read_plan(plan_to_tables(plans), "sweep.toml", {}, 1000)
    assert [(plan.name, plan.config) for plan in again] == [(plan.name, plan.config) for plan in plans]


BAD = [
    ("[gird]\n", "unknown table [gird]", "did you mean [grid]?"),
    ("[x]\n", "unknown table [x]", "choose from [base]"),
    ("base = 3\n", "[base] is 3", "line of its own"),
    ("[base]\niteratons = 3\n", "plan.toml [base]: unknown setting 'iteratons'", "did you mean iterations?"),
    ("[grid]\nfiltr = ['sobel']\n", "[grid]: unknown setting 'filtr'", "did you mean filter?"),
    ("[[runs]]\nhiden = 3\n", "[[runs]] 1: unknown setting 'hiden'", "did you mean hidden?"),
    ("[grid]\nfilter = []\n", "filter is an empty list", "values"),
    ("[grid]\n", "names no runs", "[grid]"),
    ("", "names no runs", "[grid]"),
    ("[grid]\nfilter = 'sobel'\n", "filter is 'sobel', which is no list", "[base]"),
    ("[grid]\nfilter = ['sobol']\n", "filter is 'sobol'", "sobel, scharr"),
    ("[grid]\nhidden = [8, '9']\n", "hidden is '9'", "type int"),
    ("[grid]\nhidden = [8, 0]\n", "hidden is 0, but goes from 1", "--hidden"),
    ("[grid]\nhidden = [8, 8]\n", "two runs are named hidden8", "once"),
    ("[[runs]]\nname = 'a'\n[[runs]]\nname = 'A'\n", "two runs are named A", "a name"),
    ("[[runs]]\nname = 'a/b'\n", "'a/b' cannot name a run's files", "letters"),
    ("[[runs]]\nname = '../../x'\n", "cannot name a run's files", "letters"),
    ("[[runs]]\nname = 'x.checkpoint'\n", "cannot name", "letters"),
    ("[[runs]]\nname = 'Summary'\n", "named Summary, as a file of the sweep", "another"),
    ("[[runs]]\nname = 3\n", "run 1 has the name 3", "quotes"),
    ("runs = 3\n", "runs is 3", "[[runs]]"),
    ("[replicates]\nseeds = []\n", "seeds is []", "how many"),
    ("[replicates]\nseeds = ['a']\n", "seeds is ['a']", "how many"),
    ("[replicates]\nseed = 3\n", "unknown setting 'seed'", "give seeds"),
    ("[grid]\nseed = [1]\n[replicates]\nseeds = 2\n", "in [grid] and in [replicates]", "one of the two"),
    ("[replicates]\nseeds = 10000\n", "asks for 10,000 runs, more than 1,000", "--most 10000"),
    (
        "[grid]\n"
        + "".join(f"{name} = {list(range(4, 100))}\n" for name in ("hidden", "channels", "size", "seed", "steps")),
        "steps is 4",
        "type str",
    ),
    (
        "[grid]\n"
        + "".join(f"{name} = {list(range(4, 100))}\n" for name in ("hidden", "channels", "size", "seed", "padding")),
        "asks for 8,153,726,976 runs",
        "--most",
    ),
]


@pytest.mark.parametrize(("text", "what", "hint"), BAD)
def test_bad_plans(text, what, hint):
    with pytest.raises(UsageError) as caught:
        make_plan(text)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert len(caught.value.what.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ({"hidden": "8,x"}, "--hidden is 'x'"),
        ({"hidden": "8,,9"}, "--hidden has an empty value"),
        ({"damage": "maybe"}, "--damage is 'maybe'"),
        ({"filter": "sobel,sobol"}, "filter is 'sobol'"),
        ({"filter": "sobel"}, "names no runs"),
    ],
)
def test_bad_flags(flags, what):
    with pytest.raises(UsageError) as caught:
        make_plan(**flags)
    assert what in caught.value.what
