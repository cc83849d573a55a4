from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from supertask.configs.config import field
from supertask.connections.fields import (
    CalibrationField,
    InputField,
    MetadataField,
    OutputField,
    SuperTaskConfig,
)
from supertask.dataids import DataId
from supertask.errors import ConfigError, DataIdError, DatasetNotFoundError, NoWork, StorageError
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask
from supertask.testing import lint, runQuantum


class ReduceConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(("exposure", "detector"), "numpy", doc="Raw.")
    flat = CalibrationField(("detector", "physical_filter"), "numpy", doc="Flat.", minimum=0)
    biases = InputField(
        ("exposure", "detector"), "numpy", doc="Biases.", multiple=True, minimum=0, deferred=True
    )
    image = OutputField(("exposure", "detector"), "numpy", doc="Reduced.")
    stars = OutputField(("exposure", "detector"), "ecsv", doc="Stars.", minimum=0)
    gain: float = field(1.0, doc="Gain.")


class ReduceTask(SuperTask):
    ConfigClass = ReduceConfig
    _DefaultName = "reduce"

    def run(self, raw, flat, biases, dataId):
        if not raw.any():
            raise NoWork("dark")
        for bias in biases:
            raw = raw - bias.get()
        image = raw * self.config.gain / (1 if flat is None else flat)
        return Struct(
            image=image, stars=Table({"exposure": [dataId["exposure"]]}) if flat is not None else None
        )


ONES = np.ones((2, 2))


def test_one_quantum_runs_in_one_line():
    assert (runQuantum(ReduceTask, {"raw": 3 * ONES}).image == 3).all()


def test_configuration_data_id_and_every_input_count():
    task = ReduceTask(config=ReduceConfig(gain=2, image="my_image"))
    result = runQuantum(
        task,
        {"raw": 9 * ONES, "flat": 2 * ONES, "biases": [ONES, 2 * ONES]},
        {"instrument": "Cam", "exposure": 7, "detector": 3, "physical_filter": "r1"},
    )
    assert (result.image == 6).all()
    assert list(result.stars["exposure"]) == [7]


def test_what_may_be_left_out_is_none():
    assert runQuantum(ReduceTask, {"raw": ONES, "flat": None}).stars is None


def test_no_work_passes_through():
    with pytest.raises(NoWork, match="dark"):
        runQuantum(ReduceTask, {"raw": 0 * ONES})


class CoaddConfig(SuperTaskConfig):
    quantum_units = ("patch", "band")
    warps = InputField(("visit", "patch"), "numpy", doc="Warps.")
    coadd = OutputField(("patch", "band"), "numpy", doc="Coadd.")
    weights = OutputField(("visit", "patch"), "numpy", doc="Weights.")


class CoaddTask(SuperTask):
    ConfigClass = CoaddConfig
    _DefaultName = "coadd"

    def run(self, warps):
        return Struct(coadd=sum(warps), weights=[w / sum(warps) for w in warps])


@pytest.mark.parametrize("warps", [[ONES, 3 * ONES], {DataId(visit=1): ONES, DataId(visit=2): 3 * ONES}])
def test_several_inputs_and_outputs_are_given_in_order_or_by_data_id(warps):
    result = runQuantum(
        CoaddTask, {"warps": warps}, {"patch": 4}, outputs={"weights": [{"visit": 1}, {"visit": 2}]}
    )
    assert (result.coadd == 4).all()
    assert {d["visit"]: w[0, 0] for d, w in result.weights.items()} == {1: 0.25, 2: 0.75}
    assert all(d["patch"] == 4 for d in result.weights)


def test_every_field_that_does_not_fit_is_named_at_once():
    with pytest.raises(ConfigError) as caught:
        runQuantum(CoaddTask, {"warp": [], "warps": 3}, outputs={"coad": []})
    assert caught.value.problems == (
        "no input field 'warp' (did you mean 'warps'?); it has warps",
        "no output field 'coad' (did you mean 'coadd'?); it has coadd, weights",
        "'warps' has several datasets: give a sequence of values, or a mapping from data IDs, got int",
        "'weights' has several datasets: say which, outputs={'weights': [data ID, …]}",
    )


def test_values_go_through_their_storage_format():
    with pytest.raises(StorageError):
        runQuantum(ReduceTask, {"raw": object()})


def test_a_data_id_that_is_none_is_refused():
    with pytest.raises(DataIdError, match="'exposure' must be an int"):
        runQuantum(ReduceTask, {"raw": ONES}, {"exposure": "x"})
    with pytest.raises(DataIdError, match=r"unknown key 'exposur' \(did you mean 'exposure'\?\)"):
        runQuantum(ReduceTask, {"raw": ONES}, {"exposur": 1})


def test_a_missing_input_is_the_tasks_own_error():
    from supertask.errors import ExecutionError

    with pytest.raises((ExecutionError, DatasetNotFoundError), match="needs at least 1 'raw'"):
        runQuantum(ReduceTask, {})


def test_other_unit_models_can_be_used():
    class SpectrumConfig(SuperTaskConfig):
        quantum_units = ("release", "visit")
        flux = InputField(("release", "visit"), "numpy", doc="Flux.")
        snr = OutputField(("release", "visit"), "json", doc="Signal to noise.")

    class SnrTask(SuperTask):
        ConfigClass = SpectrumConfig
        _DefaultName = "snr"

        def run(self, flux):
            return {"snr": float(flux.mean() / flux.std())}

    assert runQuantum(SnrTask, {"flux": np.array([1.0, 3.0])}, model="spectra").snr == 2.0


class NotedConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(("exposure", "detector"), "numpy", doc="Raw.")
    image = OutputField(("exposure", "detector"), "numpy", doc="Reduced.")
    noted_metadata = MetadataField(("exposure", "detector"), doc="What was noted.")


class NotedTask(SuperTask):
    ConfigClass = NotedConfig
    _DefaultName = "noted"

    def run(self, raw):
        self.metadata["mean"] = float(raw.mean())
        with self.timer("copy"):
            return Struct(image=raw.copy())


def test_metadata_and_timers_end_up_as_a_dataset():
    made = runQuantum(NotedTask, {"raw": ONES})
    assert made.noted_metadata["mean"] == 1.0
    assert made.noted_metadata["timers"]["copy"]["count"] == 1
    assert made.noted_metadata["timers"]["run"]["wall_s"] > 0
    assert not lint(NotedTask)


def test_metadata_are_of_one_quantum():
    first, second = (runQuantum(NotedTask, {"raw": k * ONES}).noted_metadata for k in (1, 2))
    assert second["timers"]["run"]["count"] == first["timers"]["run"]["count"] == 1
