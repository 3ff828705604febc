"""What leaves by the API trains: `datasets` reads it, TRL's DPOTrainer takes a step on it."""

import os
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from genrm_engine.embedded import ensure_converted
from labeling.models import Deployment, Project
from labeling.services.tokens import create_token
from tests.factories import JudgementFactory, LabelFactory, PairFactory

pytestmark = [pytest.mark.model, pytest.mark.xdist_group("torch"), pytest.mark.timeout(300)]


@pytest.fixture
def embedded() -> Path:
    pytest.importorskip("trl", reason="the web parts alone are installed")
    home = Path(os.environ.get("TANDEM_TEST_HOME", Path.home() / ".cache" / "tandem-tests"))
    return ensure_converted(home, progress=print)


@pytest.mark.parametrize("source", ["human", "judge"])
def test_strict_labels_train_a_dpo_step(
    alice: User, project: Project, champion: Deployment, embedded: Path, tmp_path: Path, source: str
) -> None:
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    for pair, choice in zip(PairFactory.create_batch(4, project=project), ["a", "b", "tie", "a"], strict=True):
        LabelFactory.create(pair=pair, choice=choice)
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.8)
    answer = Client().get(
        f"/api/v1/projects/{project.slug}/labels?source={source}&profile=strict",
        headers={"Authorization": f"Bearer {create_token(alice)}"},
    )
    path = tmp_path / "labels.ndjson"
    path.write_bytes(b"".join(answer.streaming_content))  # type: ignore[attr-defined]
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == ["prompt", "chosen", "rejected"]
    assert len(rows) == (3 if source == "human" else 4)
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(embedded),
        args=DPOConfig(
            output_dir=str(tmp_path / "dpo"),
            max_steps=1,
            per_device_train_batch_size=2,
            max_length=256,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
        ),
        processing_class=AutoTokenizer.from_pretrained(embedded),
        train_dataset=rows,
    )
    trainer.train()
    assert trainer.state.global_step == 1
    assert trainer.state.log_history[-1]["train_loss"] > 0
