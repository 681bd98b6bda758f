"""The whole configuration of a study: the one source of every key, its type, range, default and description."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from neurocohort.settings.base import Group, Name
from neurocohort.settings.cohorts import Cohort
from neurocohort.settings.evaluation import Evaluation
from neurocohort.settings.experiment import Experiment
from neurocohort.settings.longitudinal import Longitudinal
from neurocohort.settings.models import AppliedModel
from neurocohort.settings.preprocessing import Preprocessing
from neurocohort.settings.quality import Quality
from neurocohort.settings.report import Report
from neurocohort.settings.saliency import Saliency
from neurocohort.settings.split import Split
from neurocohort.settings.synthetic import Synthetic

MLFLOW = "mlflow-skinny==3.17.2"  # or all of mlflow, with its pages


class Study(Group):
    """The configuration of a neurocohort study."""

    study: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$(?!\n)")] = Field(
        title="a folder name: 1 to 64 letters, digits, `.`, `_` or `-`, the first a letter or digit",
        description="Name of the study; the report shows it.",
    )
    demo_data: bool = Field(
        False, description="Whether the scans are synthetic. If so, the report states it on every page."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where networks run. `auto` takes a GPU if one is visible, else the CPU; `cuda` fails at once without one.",
    )
    new_scans: Literal["keep_networks", "retrain"] = Field(
        "keep_networks",
        description="What happens when scans are added to a cohort that networks were trained on. `keep_networks`: the networks "
        "stay, added participants of the held-out part are tested, and other added scans only get predictions. `retrain`: "
        "everything is trained again with them. See [New scans in an old cohort](#new-scans-in-an-old-cohort).",
    )
    tracking: Literal["mlflow"] | None = Field(
        None,
        description="`mlflow` writes the figures of all trainings, their settings and the test results into `results/mlflow.db`; "
        f"it needs `pip install {MLFLOW}`. TensorBoard's files are always written. See [Search and track](../docs/search.md).",
    )
    cohorts: dict[Name, Cohort] = Field(
        min_length=1,
        title="at least one cohort under its name",
        description="The cohorts of the study, each under a name that becomes a folder.",
    )
    synthetic: Synthetic | None = Field(
        None,
        description="Synthetic archives to make, each in the layout of the source it is named after; only with demo_data.",
    )
    preprocessing: Preprocessing = Field(Preprocessing(), description="How each scan is brought to the study's grid.")
    quality: Quality = Field(Quality(), description="Limits beyond which a scan is excluded after preprocessing.")
    split: Split = Split()
    experiments: dict[Name, Experiment] = Field(
        min_length=1,
        title="at least one experiment under its name",
        description="The experiments, each under a name that becomes a folder.",
    )
    models: dict[Name, AppliedModel] = Field(
        {}, description="Trained models of other studies, each under a name that becomes a folder."
    )
    longitudinal: dict[Name, Longitudinal] | None = Field(
        None,
        min_length=1,
        title="at least one analysis under its name",
        description="Analyses of participants with several sessions, each under a name that becomes a folder. See "
        "[Sessions over time](#sessions-over-time).",
    )
    evaluation: Evaluation = Evaluation()
    saliency: Saliency = Field(
        Saliency(), description="How it is shown which parts of the brain a regression or classification uses."
    )
    report: Report = Report()


class StudyOfModels(Study):
    """A study that applies trained models; it may have no experiments."""

    experiments: dict[Name, Experiment] = Field({}, description="The experiments; there may be none.")


class _PlainSchema(GenerateJsonSchema):
    """Only fields have titles; a key that may be absent may not be null; a choice of one value is an enum too."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return {key: value for key, value in super().model_schema(schema).items() if key != "title"}

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        return super().dict_schema(schema) | {"additionalProperties": False}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        made = super().default_schema(schema)
        if isinstance(default := made.get("default"), dict):
            made["default"] = {key: value for key, value in default.items() if value is not None}
        return made

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        return {"type": "string", "enum": list(schema["expected"])}


@cache
def json_schema() -> dict[str, Any]:
    """The JSON Schema of the configuration."""
    return Study.model_json_schema(schema_generator=_PlainSchema)
