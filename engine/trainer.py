"""Train one stage: a readable loop with resume, averaging, logs and safe stops.

It knows no model and no data set: a ``StageTask`` brings them, so HF2-VAD's three stages and
FRD-UVAD share it.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from engine.compiled import Loss, StepLoss
from engine.gradients import share_gradients
from engine.logger import StageLogger
from engine.loss_log import LossLog
from engine.stage import LossTerms, Stage, require_same_run
from engine.state import TrainingState
from utils import distributed
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.config.load import save_config
from utils.console import echo
from utils.progress import ProgressBar
from utils.run_folder import StopSignal, sole_writer
from utils.runtime import autocast, exact_products, provenance, seed_by_rank


def fit(stage: Stage, accelerator: Accelerator, restart: bool = False) -> Path:
    """Train ``stage`` to its last epoch, resuming from ``last.pth`` where there is one.

    Returns:
        The path of the finished checkpoint.

    Raises:
        UserError: the folder is in use, holds another configuration, or a loss is not finite.
    """
    with sole_writer(stage.folder), StopSignal() as stop:
        return _Fit(stage, accelerator, stop).run(restart)


class _Fit:
    def __init__(self, stage: Stage, accelerator: Accelerator, stop: StopSignal) -> None:
        self.stage, self.task = stage, stage.task
        self.accelerator = accelerator
        self.stop = stop
        self.path = stage.folder / "last.pth"
        settings, optimizer = stage.settings, stage.task.optimizer
        assert optimizer is not None  # train_stage sets the default
        scheduler = torch.optim.lr_scheduler.MultiStepLR(
            optimizer, settings.lr_milestones, settings.lr_gamma
        )
        model = self.task.model.to(accelerator.device)
        self.state = TrainingState(
            model, optimizer, scheduler, settings.ema_decay, self.task.memory
        )
        self.losses = LossLog(self.state, stage.name, self.path)

    def run(self, restart: bool) -> Path:
        seed_by_rank(self.stage.run.seed)
        resume = distributed.broadcast(self.path.exists() and not restart)
        if resume and self._resume():
            return self.path
        log = None
        if distributed.is_first():
            save_config(self.stage.config, self.stage.folder / "config.yaml")
            log = StageLogger(self.stage.folder, self.state.step, self.state.epoch)
        run, device = self.stage.run, self.accelerator.device
        wrapped = share_gradients(self.state.model, self.accelerator)
        step_loss = StepLoss(self.task, wrapped, run.compile, device, run.precision)
        with log or contextlib.nullcontext():
            while self.state.epoch < self.stage.settings.num_epochs:
                self._train_epoch(step_loss, log)
        self._finish()
        return self.path

    def _resume(self) -> bool:
        """Restore ``last.pth``; true when there is nothing left to train."""
        checkpoint = load_checkpoint(self.path, self.stage.system, (self.stage.name,))
        require_same_run(checkpoint, self.stage, self.path)
        distributed.require_same(checkpoint["step"], f"the step of {self.path}")
        if checkpoint["finished"] and checkpoint["epoch"] >= self.stage.settings.num_epochs:
            echo(
                f"{self.path}: already finished ({checkpoint['epoch']} epochs); --restart redoes it"
            )
            return True
        self.state.restore(checkpoint, str(self.path))
        echo(f"{self.path}: resuming after epoch {self.state.epoch}, step {self.state.step}")
        return False

    def _train_epoch(self, step_loss: StepLoss, log: StageLogger | None) -> None:
        state, settings, started = self.state, self.stage.settings, time.perf_counter()
        steps = len(self.task.loader)
        bar = ProgressBar(
            self.task.loader.epoch(state.epoch, state.step_in_epoch),
            total=steps,
            initial=state.step_in_epoch,
            desc=f"{self.stage.name} epoch {state.epoch + 1}/{settings.num_epochs}",
            disable=not distributed.is_first(),
            mininterval=1.0,
            span=(state.epoch / settings.num_epochs, (state.epoch + 1) / settings.num_epochs),
        )
        step_loss.network.train()
        for batch in bar:
            self._train_step(step_loss, batch)
            if self._check_due():
                mean = self.losses.check()
                bar.set_postfix(loss=f"{mean['total']:.4g}", refresh=False)
                if log is not None and state.step % self.stage.run.log_every == 0:
                    log.scalars("step", mean, state.step)
            if self._stop_wanted():
                self._stop_here()
            if settings.save_every_steps and state.step % settings.save_every_steps == 0:
                self._save(finished=False)
        self._close_epoch(steps, started, log)

    def _train_step(self, step_loss: StepLoss, batch: Any) -> None:
        optimizer = self.state.optimizer
        whole = len(batch[0]) * distributed.count() == self.stage.settings.batch_size
        loss = step_loss(batch, whole, lambda *tried: self._gradients(*tried)["total"])
        optimizer.zero_grad(set_to_none=True)
        with distributed.lost_process_named():
            terms = self._gradients(loss, batch)
        optimizer.step()
        self.state.after_step()
        self.losses.add({name: term.detach() * batch.weight for name, term in terms.items()})

    def _gradients(self, loss: Loss, batch: Any) -> LossTerms:
        """Forward and backward."""
        with self._autocast():
            terms = loss(batch)
        (terms["total"] * batch.weight).backward()
        return terms

    def _autocast(self) -> torch.autocast:
        return autocast(self.accelerator.device, self.stage.run.precision)

    def _check_due(self) -> bool:
        # Reading a loss waits for the GPU, so there it is done every log_every steps only.
        on_cpu = self.accelerator.device.type == "cpu"
        return on_cpu or self.state.step % self.stage.run.log_every == 0

    def _stop_wanted(self) -> bool:
        if distributed.count() == 1:
            return self.stop.received
        return self._check_due() and distributed.any_of(self.stop.received)

    def _close_epoch(self, steps: int, started: float, log: StageLogger | None) -> None:
        self.losses.check()
        state = self.state
        means = {name: total / steps for name, total in state.loss_sums.items()}
        rate = state.optimizer.param_groups[0]["lr"]
        state.after_epoch()
        record = {"epoch": state.epoch, "step": state.step, "lr": rate, **means}
        record["seconds"] = round(time.perf_counter() - started, 3)
        if log is not None:
            log.epoch_line(record)
            log.scalars("epoch", means | {"lr": rate}, state.epoch)
            self._log_pictures(log)
        self._keep_epoch()  # before last.pth tells that this epoch is over: a kill may fall between
        self._save(finished=False)

    def _log_pictures(self, log: StageLogger) -> None:
        every = self.stage.run.image_every
        if every and self.state.epoch % every == 0:
            model = self.state.evaluated_model.eval()
            with torch.no_grad(), self._autocast():
                log.pictures(self.task.pictures(model), self.state.epoch)
            self.state.model.train()

    def _stop_here(self) -> None:
        self.losses.check()
        self._save(finished=False)
        echo(f"stopped by a signal at step {self.state.step}; {self.path} resumes from here")
        raise SystemExit(143)

    def _keep_epoch(self) -> None:
        every = self.stage.settings.keep_every
        if every and self.state.epoch % every == 0:
            path = self.stage.folder / f"epoch_{self.state.epoch:03d}.pth"
            self._save(finished=True, path=path, normal=self._describe_normal())

    def _finish(self) -> None:
        echo(f"{self.stage.name}: computing score statistics on the training data")
        self._save(finished=True, normal=self._describe_normal())
        distributed.barrier()  # every process finds the checkpoint finished

    def _describe_normal(self) -> dict[str, Any]:
        model = self.state.evaluated_model
        # BatchNorm statistics of CPU processes differ; the checkpoint holds the first one's.
        distributed.broadcast_tensors(model.buffers())
        training = model.training
        model.eval()
        # Float32 whatever the training precision: scores are made in it.
        with torch.no_grad(), exact_products():
            described = self.task.describe_normal(model)
        model.train(training)
        return described

    def _how(self) -> dict[str, str]:
        """What the training products were computed in, on a GPU."""
        run, device = self.stage.run, self.accelerator.device
        if device.type != "cuda":
            return {}
        products = "tf32" if run.precision == "fp32" and run.tf32 else run.precision
        return {"device": torch.cuda.get_device_name(device), "products": products}

    def _save(self, finished: bool, path: Path | None = None, normal: Any = None) -> None:
        self.losses.check()
        stage, state = self.stage, self.state
        training = state.state_dict()  # of all processes
        if not distributed.is_first():
            return
        checkpoint = {
            "system": stage.system,
            "stage": stage.name,
            "config": stage.config,
            "model": state.evaluated_model.state_dict(),
            "finished": finished,
            "epoch": state.epoch,
            "step": state.step,
            "statistics": None,
            "densities": None,
            "threshold": None,
            "calibration": None,
            "provenance": provenance() | self._how() | {"data": stage.task.fingerprint},
            "training": training,
        }
        save_checkpoint(path or self.path, checkpoint | (normal or {}))
