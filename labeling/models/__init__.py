"""The rows of Tandem and what the database itself guarantees about them. Knows no request, queue or model."""

from labeling.models.access import ApiToken, AuditEvent, KeyMap
from labeling.models.datasets import DatasetVersion
from labeling.models.judges import (
    Deployment,
    JudgeCall,
    JudgeEndpoint,
    Judgement,
    JudgeTrial,
    JudgeVersion,
    JudgingRequest,
    PrunedWeights,
    Rationale,
)
from labeling.models.labels import Claim, Consensus, ConsensusFit, Flag, Label, LabelRevision, SavedFilter
from labeling.models.pairs import ImportBatch, Pair, RejectedLine
from labeling.models.projects import Member, Project
from labeling.models.runs import TrainedPair, TrainingRun
from labeling.models.workers import WorkerHeartbeat

__all__ = [
    "ApiToken",
    "AuditEvent",
    "Claim",
    "Consensus",
    "ConsensusFit",
    "DatasetVersion",
    "Deployment",
    "Flag",
    "ImportBatch",
    "JudgeCall",
    "JudgeEndpoint",
    "JudgeTrial",
    "JudgeVersion",
    "Judgement",
    "JudgingRequest",
    "KeyMap",
    "Label",
    "LabelRevision",
    "Member",
    "Pair",
    "Project",
    "PrunedWeights",
    "Rationale",
    "RejectedLine",
    "SavedFilter",
    "TrainedPair",
    "TrainingRun",
    "WorkerHeartbeat",
]
