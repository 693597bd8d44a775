"""Trains nnU-Net for a number of minutes and predicts its fold's validation cases; run by ``bench_nnunet.py``.

Runs in an environment of its own that holds ``nnunetv2`` and not medcnn. nnU-Net's trainer is used as it is, with the
configuration that it planned. Only the number of its epochs and of the steps in each are set, so that its own schedule
of the learning rate ends with the minutes: a few steps of a trainer that is thrown away are timed first.

Environment: ``nnUNet_raw``, ``nnUNet_preprocessed``, ``nnUNet_results``; ``nnUNet_n_proc_DA=0`` augments in the
process.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

# nnU-Net changes its learning rate once an epoch, and looks at a validation batch at least once.
MOST_EPOCHS = 50
STEPS_AN_EPOCH = 5
TIMED = 8


def main() -> None:
    """Time some steps, train, predict; the last line is a JSON object with what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="folder name, such as Dataset004_Hippocampus")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()

    import torch
    from nnunetv2.paths import nnUNet_preprocessed
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.set_num_threads(args.threads)
    folder = Path(str(nnUNet_preprocessed)) / args.dataset
    facts = json.loads((folder / "dataset.json").read_text())

    def trainer() -> nnUNetTrainer:
        plans = json.loads((folder / "nnUNetPlans.json").read_text())
        plans["continue_training"] = False
        made = nnUNetTrainer(plans, "3d_fullres", 0, facts, device=torch.device("cpu"))
        made.initialize()
        return made

    torch.manual_seed(0)
    trial = trainer()
    trial.on_train_start()
    seconds = []
    for _ in range(TIMED):
        start = time.perf_counter()
        trial.train_step(next(trial.dataloader_train))
        seconds.append(time.perf_counter() - start)
    step = sorted(seconds[2:])[len(seconds[2:]) // 2]
    # One step of validation an epoch is nnU-Net's least; it costs about a third of a training step.
    total = args.minutes * 60 / step
    epochs = max(1, min(MOST_EPOCHS, round(total / (STEPS_AN_EPOCH + 1 / 3))))
    steps = max(1, round(total / epochs - 1 / 3))
    del trial

    torch.manual_seed(0)
    real = trainer()
    real.num_epochs, real.num_iterations_per_epoch, real.num_val_iterations_per_epoch = epochs, steps, 1
    # Made from the number of epochs when the trainer was initialised.
    real.optimizer, real.lr_scheduler = real.configure_optimizers()
    real.save_every = epochs
    wall, used = time.perf_counter(), time.process_time()
    real.run_training()
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - used}
    real.perform_actual_validation(False)
    done = {"epochs": epochs, "steps_an_epoch": steps, "batch": real.batch_size, "step_s": step, **took}
    print(json.dumps({**done, "predictions": str(Path(real.output_folder) / "validation")}))


if __name__ == "__main__":
    main()
