"""Memory and time of a run that has not been made yet."""

import math

import pytest
from pydantic import ValidationError
from rich.console import Console

from atomfield.pretrain.config import PretrainConfig
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.plan import Measured, memory, message_bytes, predict, share, show
from atomfield.pretrain.streams import Stream
from tests.small import morse_clusters, small_network, waves


@pytest.fixture(scope="module")
def streams():
    common = {"cutoff": 5.0, "seed": 0, "micro_batches": 8}
    return [
        Stream(morse_clusters(24), Targets("supervised"), max_edges=60, name="atoms", **common),
        Stream(waves(4), Targets("next_step"), max_edges=520, name="fields", **common),
    ]


def config(**plan):
    streams = (
        {"source": "a", "micro_batches": 8},
        {"source": "b", "objective": "next_step", "micro_batches": 8},
    )
    return PretrainConfig(streams=streams, plan=plan)


def test_memory_is_that_of_adam_in_float32_and_is_divided_by_the_stage():
    assert memory(1000, 0, 4) == {"weights": 4000, "gradients": 8000, "optimizer": 8000, "average": 4000}
    assert memory(1000, 1, 4) == {"weights": 4000, "gradients": 8000, "optimizer": 3000, "average": 4000}
    assert memory(1000, 2, 4)["gradients"] == 1000 and memory(1000, 3, 4)["weights"] == 1000


def test_messages_follow_the_stage():
    assert message_bytes(1000, 1, 1, 8) == (0.0, 0)
    assert message_bytes(1000, 1, 4, 8) == (6000.0, 2)
    assert message_bytes(1000, 2, 4, 8) == (27000.0, 9)
    assert message_bytes(1000, 3, 2, 8) == (48000.0, 24)
    assert [share(8, n) for n in (1, 2, 8, 64)] == [8, 4, 1, 1]


def test_the_prediction_adds_up(streams):
    measured = Measured((0.1, 0.2), 0.01, 0.0, 0.0)
    one = predict(config(), measured, streams, 10_000, 1)
    assert one.compute == pytest.approx(8 * 0.1 + 8 * 0.2) and one.waiting == one.messages == 0
    assert one.records == pytest.approx(
        8 * 3 + 8 * len(streams[1].items) / streams[1].micro_batches_per_epoch
    )
    assert one.days == pytest.approx((24 + 16) / one.records * one.step / 86400)
    many = predict(config(), measured, streams, 10_000, 64)
    assert many.compute == pytest.approx(0.1 + 0.2)
    assert many.records == pytest.approx(8 * one.records)  # one micro-batch of each stream for each of 64
    assert many.messages == pytest.approx(2 * 4e4 * 63 / 64 / 25e9 + 4 * 2 * math.log2(64) * 20e-6)
    # atoms of equal size: what is above the mean comes from the flows and from what estimates are off
    assert 0 < many.waiting < many.compute
    fast = predict(config(device_speedup=10.0, structures=1e6, epochs=2), measured, streams, 10_000, 1)
    assert fast.compute == pytest.approx(one.compute / 10)
    assert fast.days == pytest.approx(2e6 / fast.records * fast.step / 86400)
    assert many.efficiency < 1.0


def test_the_plan_is_measured_and_printed_and_the_network_stays(streams):
    net = small_network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    found = show(config(gpus=[1, 1000], structures=1e9), net, streams, "cpu", console)
    console.file.close()
    text = console.export_text()
    assert "1,000,000,000 records" in text and "ZeRO 2" in text and "Measured here (cpu)" in text
    assert found[0].compute > 0 and found[1].days < found[0].days
    assert all((v == before[k]).all() for k, v in net.state_dict().items())


def test_counts_of_gpus_are_counts():
    with pytest.raises(ValidationError, match="expected counts of at least 1"):
        config(gpus=[0])
