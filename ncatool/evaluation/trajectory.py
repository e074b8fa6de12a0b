"""Rollouts step by step: from the seed, and after damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ncatool.config.names import Damage
from ncatool.data.target import Target
from ncatool.engine.advance import iterate_states
from ncatool.evaluation.protocol import (
    GROWTH_STEP,
    HEALED_SHARE,
    MAX_ABS_STATE,
    SNAPSHOT_STEPS,
    Protocol,
    StepCallback,
    choose_healing_steps,
    choose_persistence_step,
)
from ncatool.evaluation.quartiles import Quartiles, compute_quartiles, find_first
from ncatool.evaluation.ssim import measure_ssim
from ncatool.nca.damage import DAMAGE_SHAPES, DEFAULT_SIZES, pad_mask
from ncatool.nca.loss import PerSample, compute_error, compute_mse
from ncatool.nca.model_file import ModelData
from ncatool.nca.state import has_living_cells
from ncatool.nca.types import Mask, State


@dataclass(frozen=True)
class Trajectory:
    """Rollouts from the seed, step by step."""

    mse: Float[np.ndarray, "rollouts states"]
    """MSE over RGBA of the seed and of the state after each step."""
    change: Float[np.ndarray, "rollouts steps"]
    """Mean absolute change of RGBA in each step."""
    dead: Bool[np.ndarray, "rollouts"]
    """Whether no cell is alive at the end."""
    exploded: Bool[np.ndarray, "rollouts"]
    """Whether a value was above 10, below -10 or not a number after any step."""
    ssim_grown: Float[np.ndarray, "rollouts"]
    """SSIM at the step at which growth is measured."""
    ssim_final: Float[np.ndarray, "rollouts"]
    """SSIM at the last step."""
    snapshots: dict[int, Float[np.ndarray, "height width 4"]]
    """RGBA of the first rollout by step, the last step included."""


@dataclass(frozen=True)
class DamageResult:
    """Rollouts after damage, step by step."""

    before: Float[np.ndarray, "rollouts"]
    """MSE before the damage."""
    mse: Float[np.ndarray, "rollouts states"]
    """MSE right after the damage, and after each step since."""
    nearest: Int[np.ndarray, "rollouts"]
    """Which of the model's pictures each state is nearest to at the end, by MSE over RGBA."""
    snapshots: tuple[Float[np.ndarray, "height width 4"], Float[np.ndarray, "height width 4"]]
    """RGBA of the first rollout, right after the damage and at the end."""

    @property
    def recovery(self) -> Float[np.ndarray, "rollouts states"]:
        """R = 1 - (after - before) / (damaged - before): 0 right after the damage, 1 at the error before it.

        NaN where the damage did not raise the error.
        """
        with np.errstate(all="ignore"):  # exploded rollouts hold infinities
            added = self.mse[:, :1] - self.before[:, None]
            return np.where(added > 0, 1 - (self.mse - self.before[:, None]) / added, np.nan)

    @property
    def regeneration(self) -> Quartiles:
        """R at the end; minus infinity where the rollout exploded or the damage did not raise the error."""
        median, lower, upper = compute_quartiles(1 - self.recovery[:, -1])
        return Quartiles(1 - median, 1 - upper, 1 - lower)

    @property
    def error_before(self) -> Quartiles:
        """MSE before the damage, which is the same for all shapes."""
        return compute_quartiles(self.before)

    @property
    def healed(self) -> Quartiles:
        """MSE at the end, as many steps after the damage as `choose_healing_steps` says."""
        return compute_quartiles(self.mse[:, -1])

    @property
    def healing_steps(self) -> Quartiles:
        """Steps until nine tenths of the error added by the damage are removed."""
        return compute_quartiles(find_first(self.recovery >= HEALED_SHARE))


def run_trajectory(
    model: ModelData, protocol: Protocol, start: int, count: int, on_step: StepCallback = lambda: None
) -> tuple[Trajectory, State]:
    """Run `count` rollouts from the seed, of which the first is number `start`.

    Return their trajectory and their states at the step at which damage is done; see `choose_persistence_step`.
    """
    persistence_step = min(choose_persistence_step(model.target.shape), protocol.steps)
    generator = torch.Generator().manual_seed(protocol.seed + start)
    target = _load_target_tensor(model.target, model.device)
    state = persistent = model.place_seeds(count)
    mse, changes, snapshots, ssim = [compute_mse(compute_error(state, target))], [], {}, {}
    exploded = torch.zeros(count, dtype=torch.bool, device=model.device)
    for step, after in enumerate(iterate_states(model, state, protocol.steps, generator), 1):
        before, state = state, after
        mse.append(compute_mse(compute_error(state, target)))
        changes.append((state[..., :4] - before[..., :4]).abs().mean(dim=(1, 2, 3)))
        exploded |= _is_exploded(state)
        if step in (*SNAPSHOT_STEPS, protocol.steps):
            snapshots[step] = _copy_visible(state[:1])[0]
        if step in (GROWTH_STEP, protocol.steps):
            ssim[step] = np.array(measure_ssim(_copy_visible(state), model))
        persistent = state if step == persistence_step else persistent
        on_step()
    trajectory = Trajectory(
        mse=_copy_to_numpy(mse),
        change=torch.stack(changes, dim=1).cpu().numpy(),
        dead=~has_living_cells(state, model.config.threshold).cpu().numpy(),
        exploded=exploded.cpu().numpy(),
        ssim_grown=ssim[GROWTH_STEP],
        ssim_final=ssim[protocol.steps],
        snapshots=snapshots,
    )
    return trajectory, persistent


def measure_damage(
    model: ModelData,
    intact: State,
    shape: Damage,
    seed: int,
    on_step: StepCallback = lambda: None,
    siblings: Sequence[Target] = (),
) -> DamageResult:
    """Erase a shape from every state, and follow the steps of `choose_healing_steps`.

    `seed` is that of the fire masks, `siblings` are all pictures of a model of several.
    """
    generator = torch.Generator().manual_seed(seed + 2**32)
    target = _load_target_tensor(model.target, model.device)
    wounded = intact.clone()
    wounded[:, make_damage_mask(model, shape).to(model.device)] = 0
    state, mse = wounded, [compute_mse(compute_error(wounded, target))]
    for state in iterate_states(model, wounded, choose_healing_steps(model.target.shape), generator):
        mse.append(compute_mse(compute_error(state, target)))
        on_step()
    return DamageResult(
        _copy_to_numpy([compute_mse(compute_error(intact, target))])[:, 0],
        _copy_to_numpy(mse),
        _find_nearest(state, siblings or [model.target]),
        (_copy_visible(wounded[:1])[0], _copy_visible(state[:1])[0]),
    )


def make_damage_mask(model: ModelData, shape: Damage) -> Mask:
    """Return the cells that a shape of default size erases in the middle of the picture."""
    mask = DAMAGE_SHAPES[shape](*model.target.pixels.shape[:2], DEFAULT_SIZES.get(shape, 0.0))
    return pad_mask(mask, model.target.padding)


def _is_exploded(state: State) -> Bool[Tensor, "batch"]:
    flat = state.flatten(1)
    return ~((flat.amin(dim=1) >= -MAX_ABS_STATE) & (flat.amax(dim=1) <= MAX_ABS_STATE))


def _copy_to_numpy(values: Sequence[PerSample]) -> Float[np.ndarray, "batch states"]:
    """Copy the numbers of all states in one transfer from the device; NaN counts as infinity."""
    return np.nan_to_num(torch.stack([*values], dim=1).cpu().numpy().astype(np.float64), nan=np.inf, posinf=np.inf)


def _copy_visible(state: State) -> Float[np.ndarray, "batch height width 4"]:
    return state[..., :4].cpu().numpy().copy()


def _load_target_tensor(target: Target, device: torch.device) -> Float[Tensor, "height width 4"]:
    return torch.from_numpy(target.premultiply()).to(device)


def _find_nearest(states: State, pictures: Sequence[Target]) -> Int[np.ndarray, "batch"]:
    targets = [_load_target_tensor(one, states.device) for one in pictures]
    errors = torch.stack([compute_mse(compute_error(states, target)) for target in targets])
    return torch.nan_to_num(errors, nan=torch.inf).argmin(dim=0).cpu().numpy()
