"""What test_launch.py runs by srun: DEVICES ranks on each of 2 nodes, if Slurm started as many."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import leyden
from tests.train.models import loader, seeded

if __name__ == "__main__":
    trainer = leyden.Trainer(
        accelerator="cpu", devices=os.environ["DEVICES"], num_nodes=2, max_epochs=1, enable_progress_bar=False
    )
    line = seeded()
    trainer.fit(line, loader(32, 4))
    told = [
        trainer.plan.world.size,
        trainer.plan.world.local_rank,
        trainer.global_step,
        line.state_dict()["net.0.bias"].tolist(),
    ]
    Path(sys.argv[1], f"rank{trainer.plan.world.rank}.json").write_text(json.dumps(told))
