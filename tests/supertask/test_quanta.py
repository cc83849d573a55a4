from __future__ import annotations

from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.quanta import Quantum

Raw = Dataset.subclass("raw", ("exposure",), "json")
Image = Dataset.subclass("image", ("exposure",), "json")


def test_any_iterable_of_datasets_becomes_a_set():
    quantum = Quantum({Raw: [Raw(exposure=1), Raw(exposure=1)]}, {Image: (Image(exposure=1),)})
    assert quantum.inputs == {Raw: {Raw(exposure=1)}}
    assert quantum.outputs == {Image: {Image(exposure=1)}}


def test_quanta_are_equal_by_label_datasets_and_parameters():
    quantum = Quantum({Raw: {Raw(exposure=1)}}, {}, label="isr")
    assert quantum == Quantum({Raw: [Raw(exposure=1)]}, {}, label="isr")
    assert quantum != Quantum({Raw: [Raw(exposure=1)]}, {}, label="other")
    assert quantum != Quantum({Raw: [Raw(exposure=1)]}, {}, label="isr", parameters=3)
    assert quantum != "isr"


def test_the_data_id_alone_does_not_tell_quanta_apart():
    assert Quantum({}, {}, dataId=DataId(visit=1)) == Quantum({}, {})


def test_a_quantum_is_shown_with_what_it_reads_and_writes():
    quantum = Quantum({Raw: {Raw(exposure=1)}}, {}, label="isr", dataId=DataId(exposure=1))
    assert repr(quantum) == "<Quantum isr{exposure=1}: 1 raw -> nothing>"
