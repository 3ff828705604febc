"""What leaves by the API trains: `datasets` reads it, and TRL's trainers take a step on it, with a tiny model."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from genrm_engine.embedded import ensure_converted
from labeling.models import Deployment, Project
from labeling.services.tokens import create_token
from tests.factories import JudgementFactory, LabelFactory, PairFactory

pytestmark = [pytest.mark.model, pytest.mark.xdist_group("torch"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random layers behind the embedded judge's tokenizer."""
    pytest.importorskip("trl", reason="the web parts alone are installed")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    home = Path(os.environ.get("TANDEM_TEST_HOME") or Path.home() / ".cache" / "tandem-tests")
    tokenizer = AutoTokenizer.from_pretrained(ensure_converted(home, progress=print))
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def labelled(project: Project, champion: Deployment) -> Project:
    for pair, choice in zip(PairFactory.create_batch(4, project=project), ["a", "b", "tie", "a"], strict=True):
        LabelFactory.create(pair=pair, choice=choice)
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.8)
    return project


def loaded(user: User, query: str, folder: Path, *, form: str = "ndjson") -> Any:
    """The rows of an export as `datasets` reads the file."""
    from datasets import load_dataset

    answer = Client().get(
        f"/api/v1/projects/stories/labels?{query}&format={form}",
        headers={"Authorization": f"Bearer {create_token(user)}"},
    )
    assert answer.status_code == 200, answer.content
    path = folder / f"labels.{form}"
    path.write_bytes(b"".join(answer.streaming_content))  # type: ignore[attr-defined]
    kind = "parquet" if form == "parquet" else "json"
    return load_dataset(kind, data_files=str(path), split="train", cache_dir=str(folder / "cache"))


def options(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "out"),
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "max_length": 256,
        "gradient_checkpointing": False,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
    }


def steps(trainer: Any) -> float:
    """The loss of one step."""
    trainer.train()
    assert trainer.state.global_step == 1
    loss = float(trainer.state.log_history[-1]["train_loss"])
    assert math.isfinite(loss)
    return loss


@pytest.mark.parametrize(("source", "count"), [("human", 3), ("judge", 4)])
def test_dpo(alice: User, labelled: Project, tiny: Path, tmp_path: Path, source: str, count: int) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    rows = loaded(alice, f"source={source}&profile=strict", tmp_path)
    assert rows.column_names == ["prompt", "chosen", "rejected"]
    assert len(rows) == count
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny),
        args=DPOConfig(**options(tmp_path)),
        processing_class=AutoTokenizer.from_pretrained(tiny),
        train_dataset=rows,
    )
    assert steps(trainer) > 0


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_reward(alice: User, labelled: Project, tiny: Path, tmp_path: Path, form: str) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    rows = loaded(alice, "source=human&shape=reward&ties=keep", tmp_path, form=form)
    assert rows.column_names == ["prompt", "chosen", "rejected", "margin", "score_chosen", "score_rejected"]
    assert rows["margin"][:] == [1.0, 1.0, 0.0, 1.0]
    trainer = RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=1),
        args=RewardConfig(**options(tmp_path)),
        processing_class=AutoTokenizer.from_pretrained(tiny),
        train_dataset=rows,
    )
    assert steps(trainer) > 0


def test_kto(alice: User, labelled: Project, tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer

    rows = loaded(alice, "source=human&shape=kto", tmp_path)
    assert rows.column_names == ["prompt", "completion", "label"]
    assert rows["label"][:] == [True, False] * 3
    trainer = KTOTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny),
        args=KTOConfig(**options(tmp_path)),
        processing_class=AutoTokenizer.from_pretrained(tiny),
        train_dataset=rows,
    )
    steps(trainer)


def test_sft(alice: User, labelled: Project, tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    rows = loaded(alice, "source=judge&shape=sft", tmp_path)
    assert rows.column_names == ["prompt", "completion"]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny),
        args=SFTConfig(**options(tmp_path)),
        processing_class=AutoTokenizer.from_pretrained(tiny),
        train_dataset=rows,
    )
    assert steps(trainer) > 0


@pytest.mark.django_db(transaction=True)
def test_grpo_with_the_judge_as_the_reward(
    alice: User, labelled: Project, tiny: Path, tmp_path: Path, live_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example, with a scripted judge that answers as its worker would."""
    from examples import grpo_reward
    from labeling import jobs
    from labeling.models import JudgeCall
    from workers.tasks.calls import judge_call

    monkeypatch.setattr(jobs, "send", lambda name, kwargs: judge_call(**kwargs) if name == jobs.JUDGE_CALL else None)
    tandem = grpo_reward.Tandem(live_server.url, create_token(alice), "stories")
    assert len(tandem.prompts()) == 4
    assert tandem.margins([([{"role": "user", "content": "Why?"}], "So.", "Because it is so, and longer.")])[0] < 0
    rewards = grpo_reward.train(
        tandem, model=str(tiny), steps=2, out=tmp_path / "policy", max_completion_length=8, num_generations=2
    )
    assert len(rewards) == 2
    assert all(math.isfinite(value) for value in rewards)
    assert JudgeCall.objects.filter(state="done").count() >= 3
    assert (tmp_path / "policy" / "model.safetensors").exists()
