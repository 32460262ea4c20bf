"""Train a small StyleGAN2 of this package on the pictures of the DCGAN, whose people it draws from the same z.

    python experiments/real_faces/train.py --minutes 150 --threads 2

The same command goes on with what it finds in --work (minutes count from the beginning of all); SIGTERM and Ctrl-C
save it. `generator.checkpoint=outputs/real_faces/student.safetensors` loads the student at any time.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from dcgan import load
from discriminator import Discriminator
from distillation import Distillation
from fidelity import Fidelity
from plan import Plan
from record import Record
from student import build

from ice_lightning.checks import IceError
from ice_lightning.files import LAST


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; the exit status: 128 and the signal's number where one has ended it, 2 after a sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=150, help="of the whole training, all runs together")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--batch", type=int, help="people per step beside the adversary; 16 on a CPU, 128 on a GPU")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "gpu"))
    parser.add_argument("--precision", default="32-true", help="of Lightning's, such as bf16-mixed")
    parser.add_argument("--resume", default=True, action=argparse.BooleanOptionalAction, help="go on with --work")
    parser.add_argument("--compile", action="store_true", help="a sixth more people per second in pairs, after minutes")
    parser.add_argument("--every", type=float, default=5, help="minutes between two savings")
    parser.add_argument("--fidelity-every", type=float, default=15, help="minutes between two Frechet distances")
    parser.add_argument("--epoch", type=int, default=100, help="steps between two rows of the curve")
    parser.add_argument("--teacher", type=Path, help="safetensors of the DCGAN; by default what get.py has written")
    parser.add_argument("--work", type=Path, default=Path("outputs/real_faces"))
    args = parser.parse_args(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    gpu = args.device == "gpu" or (args.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if gpu else "cpu")
    torch.manual_seed(0)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*(in eval mode at the start|LeafSpec).*")  # networks that stay so
    try:
        teacher = load(args.teacher).to(device)
        fidelity = Fidelity.of(teacher)
    except IceError as error:
        print(error, file=sys.stderr)
        return 2
    if fidelity is None:
        print("no Frechet distances: get.py has not written recognition.safetensors", file=sys.stderr)
    module = Distillation(
        lambda z: teacher(z, "z"),  # a function, so that it is no part of the module
        build(),
        Discriminator(),
        Plan(batch=args.batch or (128 if gpu else 16)),
        args.minutes,
        args.compile,
    )
    record = Record(args.work, args.every, fidelity, args.fidelity_every)
    trainer = pl.Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=1,
        precision=args.precision,
        max_epochs=-1,
        limit_train_batches=args.epoch,
        callbacks=[record],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=args.work,
    )
    last = args.work / LAST
    trainer.fit(module, ckpt_path=last if args.resume and last.exists() else None)
    if record.stopped:
        print(f"stopped at {module.seconds / 60:.1f} of {args.minutes:g} minutes; the same command goes on")
        return 128 + record.stopped
    return 0


if __name__ == "__main__":
    sys.exit(main())
