from __future__ import annotations

import pytest

from supertask.butler.port import DatasetSource, DeferredDataset
from supertask.configs.config import Config, field
from supertask.connections.fields import (
    CalibrationField,
    InitInputField,
    InitOutputField,
    InputField,
    OutputField,
    SuperTaskConfig,
)
from supertask.dataids import DataId
from supertask.errors import DatasetNotFoundError, ExecutionError, NoWork
from supertask.quanta import Quantum
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask
from supertask.unitmodels import load_unit_model


class Shelf(DatasetSource):
    """Datasets in a dict: all that runQuantum needs of a Butler."""

    def __init__(self, values=(), model=load_unit_model("imaging")):  # noqa: B008
        self.values = dict(values)
        self.model = model

    def get(self, dataset, dataId=None, /, *, parameters=None, **units):
        if dataset not in self.values:
            raise DatasetNotFoundError(f"there is no {dataset!r}")
        return self.values[dataset]

    def put(self, value, dataset, dataId=None, /, **units):
        self.values[dataset] = value
        return dataset

    def exists(self, dataset, dataId=None, /, **units):
        return dataset in self.values


class MixConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(("exposure", "detector"), "json", doc="One for each quantum.")
    flat = CalibrationField(
        ("detector", "physical_filter"), "json", doc="Follows from the exposure.", minimum=0
    )
    visits = InputField(
        ("visit", "detector"), "json", doc="Follows too, as the exposure implies it.", minimum=0
    )
    biases = InputField(
        ("exposure", "detector"), "json", doc="Several as declared.", multiple=True, minimum=0, name="bias"
    )
    patches = InputField("patch", "json", doc="Several by units.", minimum=0, deferred=True)
    image = OutputField(("exposure", "detector"), "json", doc="One.")
    cutouts = OutputField(("exposure", "detector", "patch"), "json", doc="Several by units.", minimum=0)
    note = OutputField(("exposure", "detector"), "json", doc="One that may be left out.", minimum=0)
    scale: int = field(1, doc="Factor.")


CONFIG = MixConfig()
ID = DataId(instrument="Cam", exposure=1, detector=2)
FLAT = CONFIG.flat(instrument="Cam", detector=2, physical_filter="r1")
PATCHES = [CONFIG.patches(skymap="s", tract=1, patch=p) for p in (3, 1, 2)]
BIASES = [CONFIG.biases(instrument="Cam", exposure=e, detector=2) for e in (9, 7)]


class MixTask(SuperTask):
    ConfigClass = MixConfig
    _DefaultName = "mix"
    seen = None
    results = None

    def run(self, **inputs):
        type(self).seen = inputs
        return self.results if self.results is not None else Struct(image=inputs["raw"] * self.config.scale)


def quantum(inputs=(), outputs=()):
    def by_type(datasets):
        found = {}
        for dataset in datasets:
            found.setdefault(type(dataset), set()).add(dataset)
        return found

    return Quantum(
        by_type([CONFIG.raw(ID), *inputs]), by_type([CONFIG.image(ID), *outputs]), "mix", dataId=ID
    )


def mix(results=None, config=CONFIG):
    return type("Mixed", (MixTask,), {"results": results})(config=config)


# -- inputs ----------------------------------------------------------------------------------------


def test_an_author_writes_only_run():
    shelf = Shelf({CONFIG.raw(ID): 3})
    mix(config=MixConfig(scale=2)).runQuantum(quantum(), shelf)
    assert shelf.values[CONFIG.image(ID)] == 6


def test_run_gets_one_or_several_by_units_and_declaration():
    task = mix()
    inputs = [FLAT, *PATCHES, *BIASES]
    shelf = Shelf(
        {
            CONFIG.raw(ID): 3,
            FLAT: "f",
            **{p: f"p{p['patch']}" for p in PATCHES},
            BIASES[0]: "b9",
            BIASES[1]: "b7",
        }
    )
    task.runQuantum(quantum(inputs), shelf)
    patches = task.seen.pop("patches")
    assert task.seen == {"raw": 3, "flat": "f", "visits": None, "biases": ["b7", "b9"]}
    assert all(isinstance(p, DeferredDataset) for p in patches)
    assert [p.get() for p in patches] == ["p1", "p2", "p3"]


def test_what_is_not_there_and_not_needed_is_none_or_an_empty_list():
    task = mix()
    task.runQuantum(quantum([FLAT, *BIASES]), Shelf({CONFIG.raw(ID): 3}))
    assert task.seen == {"raw": 3, "flat": None, "visits": None, "biases": [], "patches": []}


def test_only_those_of_several_that_exist_are_read():
    task = mix()
    task.runQuantum(quantum(BIASES), Shelf({CONFIG.raw(ID): 3, BIASES[0]: "b9"}))
    assert task.seen["biases"] == ["b9"]


def test_without_a_model_units_are_compared_by_name():
    task = mix()
    task.runQuantum(quantum([FLAT]), Shelf({CONFIG.raw(ID): 3, FLAT: "f"}, model=None))
    assert task.seen["flat"] == ["f"]
    assert task.seen["raw"] == 3


def test_an_input_that_is_needed_and_lost_is_named():
    with pytest.raises(DatasetNotFoundError, match="there is no raw"):
        mix().runQuantum(quantum(), Shelf())


class GatherConfig(SuperTaskConfig):
    quantum_units = ("patch",)
    images = InputField(("visit", "detector"), "json", doc="Several.", minimum=2)
    one = InputField("patch", "json", doc="One.")
    coadd = OutputField("patch", "json", doc="Sum.")


class GatherTask(SuperTask):
    ConfigClass = GatherConfig
    _DefaultName = "gather"

    def run(self, images, one, dataId):
        return {"coadd": (sum(images), dataId["patch"])}


GATHER = GatherConfig()
PATCH = DataId(skymap="s", tract=1, patch=5)
IMAGES = [GATHER.images(instrument="Cam", visit=v, detector=2) for v in (1, 2, 3)]


def gathering(ones=(PATCH,)):
    return Quantum(
        {GATHER.images: set(IMAGES), GATHER.one: {GATHER.one(p) for p in ones}},
        {GATHER.coadd: [GATHER.coadd(PATCH)]},
        dataId=PATCH,
    )


def test_run_gets_the_data_id_if_it_asks_for_it_and_may_return_a_dict():
    shelf = Shelf({**dict.fromkeys(IMAGES[:2], 4), GATHER.one(PATCH): 1})
    GatherTask().runQuantum(gathering(), shelf)
    assert shelf.values[GATHER.coadd(PATCH)] == (8, 5)


def test_every_input_that_does_not_fit_its_field_is_named_at_once():
    two = (PATCH, DataId(PATCH, patch=6))
    with pytest.raises(ExecutionError) as caught:
        GatherTask(name="isr").runQuantum(gathering(two), Shelf({IMAGES[0]: 4}))
    message = str(caught.value)
    assert message.startswith("task 'isr', quantum {skymap=s, tract=1, patch=5}: 2 problems")
    assert (
        "input 'images' needs at least 2 'images', there are 1 (images{instrument=Cam, visit=2, detector=2}"
        in message
    )
    assert (
        "input 'one' is a single dataset, but there are 2 of 'one'; declare it with multiple=True" in message
    )


def test_a_quantum_planned_without_a_needed_input_is_refused():
    with pytest.raises(ExecutionError, match=r"needs at least 1 'one', there are 0 \(none is planned\)"):
        GatherTask().runQuantum(gathering(()), Shelf(dict.fromkeys(IMAGES, 4)))


# -- outputs ---------------------------------------------------------------------------------------

CUTOUTS = [CONFIG.cutouts(ID, skymap="s", tract=1, patch=p) for p in (2, 1)]


@pytest.mark.parametrize(
    "value",
    [
        {CUTOUTS[0]: "c2", CUTOUTS[1]: "c1"},
        {d.dataId: f"c{d['patch']}" for d in CUTOUTS},
        ["c1", "c2"],
        iter(["c1", "c2"]),
    ],
)
def test_several_outputs_are_given_by_data_id_or_in_order(value):
    shelf = Shelf({CONFIG.raw(ID): 3})
    mix(Struct(image=1, cutouts=value)).runQuantum(quantum(outputs=CUTOUTS), shelf)
    assert [shelf.values[c] for c in CUTOUTS] == ["c2", "c1"]


def test_one_of_several_is_still_given_as_several():
    shelf = Shelf({CONFIG.raw(ID): 3})
    mix({"image": 1, "cutouts": {CUTOUTS[0]: "c2"}}).runQuantum(quantum(outputs=CUTOUTS[:1]), shelf)
    assert shelf.values[CUTOUTS[0]] == "c2"


def test_outputs_that_need_not_be_made_may_be_left_out():
    shelf = Shelf({CONFIG.raw(ID): 3})
    note = CONFIG.note(ID)
    mix(Struct(image=1, note=None, cutouts={CUTOUTS[0]: 5})).runQuantum(
        quantum(outputs=[note, *CUTOUTS]), shelf
    )
    assert note not in shelf.values
    assert shelf.values[CUTOUTS[0]] == 5


def test_results_that_are_no_outputs_do_no_harm():
    shelf = Shelf({CONFIG.raw(ID): 3})
    mix(Struct(image=1, more=2, note=3)).runQuantum(quantum(), shelf)
    assert len(shelf.values) == 2


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (Struct(imaeg=1), r"run returned no 'image' \(did you mean 'imaeg'\?\)"),
        (Struct(image=None), "run returned no 'image'"),
        (5, "run must return a Struct .* of image, cutouts, note, got int"),
        (Struct(image=1, cutouts=["c"]), "run returned 1 values for 'cutouts', the quantum has 2 'cutouts'"),
        (
            Struct(image=1, cutouts=7),
            "'cutouts' stands for 2 'cutouts': run must return a dict by data ID or a sequence",
        ),
        (Struct(image=1, cutouts="ab"), "stands for 2 'cutouts'"),
        (
            Struct(image=1, cutouts={DataId(patch=9): 1}),
            r"for \{patch=9\}, which is not among the quantum's 'cutouts'",
        ),
    ],
)
def test_results_that_do_not_fit_are_refused_before_anything_is_written(results, message):
    shelf = Shelf({CONFIG.raw(ID): 3})
    with pytest.raises(ExecutionError, match=message):
        mix(results).runQuantum(quantum(outputs=CUTOUTS), shelf)
    assert list(shelf.values) == [CONFIG.raw(ID)]


def test_none_is_no_result_where_one_is_due():
    class Lazy(MixTask):
        def run(self, **inputs):
            return None

    with pytest.raises(ExecutionError, match=r"run must return a Struct .* got NoneType"):
        Lazy().runQuantum(quantum(), Shelf({CONFIG.raw(ID): 3}))
    Lazy().runQuantum(Quantum({CONFIG.raw: [CONFIG.raw(ID)]}, {}, dataId=ID), Shelf({CONFIG.raw(ID): 3}))


def test_no_work_passes_through():
    class Idle(MixTask):
        def run(self, **inputs):
            raise NoWork("nothing to see")

    with pytest.raises(NoWork, match="nothing to see"):
        Idle().runQuantum(quantum(), Shelf({CONFIG.raw(ID): 3}))


# -- what it says of itself ------------------------------------------------------------------------


class CatalogueConfig(SuperTaskConfig):
    template = InitInputField(doc="Earlier schema.")
    stars = CalibrationField("detector", "json", doc="Stars.")
    image = InputField("visit", "json", doc="Image.")
    table = OutputField("visit", "json", doc="Table.")
    schema = InitOutputField(doc="Schema.")


class CatalogueTask(SuperTask):
    ConfigClass = CatalogueConfig
    _DefaultName = "catalogue"


def test_dataset_classes_are_by_field():
    config = CatalogueConfig(table="my_table")
    classes = CatalogueTask(config=config).getDatasetClasses()
    assert classes.inputs == {"stars": config.stars, "image": config.image}
    assert classes.outputs == {"table": config.table}
    assert classes.outputs["table"].name == "my_table"
    assert classes.initInputs == {"template": config.template}
    assert classes.initOutputs == {"schema": config.schema}


def test_a_task_with_a_plain_configuration_declares_nothing():
    class Plain(SuperTask):
        ConfigClass = Config
        _DefaultName = "plain"

    assert Plain().getDatasetClasses().inputs == {}
    assert Plain().getDatasetSchemas() == {}


def test_the_constructor_takes_a_butler_and_the_arguments_of_a_task():
    task = CatalogueTask(Shelf(), name="cat", config=CatalogueConfig())
    assert (task.name, task.version) == ("cat", "1")
