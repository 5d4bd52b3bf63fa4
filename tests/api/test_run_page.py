"""The page of a training run."""

import json
import math

import pytest

from atomfield.cli import main
from atomfield.data.errors import InputError
from atomfield.run_page import draw, read_rows, table, write_page


@pytest.fixture
def run(tmp_path):
    rows = [
        {"step": n, "seconds": 2.0 * n, "learning_rate": 1e-3, "gradient_norm": 3.0 / n, "train_loss": 8.0 / n,
         "molecules/energy": 5.0 / n, "flows/field/velocity": 3.0 / n, "atoms_per_second": 1000.0, "points_per_second": 0.0,
         "flops_per_second": 2e9, "fraction_of_peak": 0.125,
         "time/loader": 0.1, "time/forward": 0.3, "time/backward": 0.6}
        for n in range(1, 30)
    ]  # fmt: skip
    valid = {
        "valid/molecules/forces_mae_eV_per_A": 0.2,
        "valid/molecules/equivariance_error": 3e-7,
        "valid_score": 0.2,
    }
    rows += [{"step": 10, **valid}, {"step": 29, **valid, "valid_score": 0.4}]
    records = [{"file": "mine.xyz", "record": 4}]
    bad = [
        {
            "step": 7,
            "cause": "loss",
            "loss": None,
            "micro_batches": [{"stream": "molecules", "records": records}],
        },
        {"step": 9, "cause": "rollback", "to": 5, "number": 1},
    ]
    for name, lines in (("metrics.jsonl", rows), ("skipped.jsonl", bad)):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_inspect_draws_the_page_beside_the_run_and_a_picture_on_request(run, capsys):
    assert main(["inspect", str(run)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 loss, 1 rollback" in said and "best 0.2 at step 10" in said and "backward 60%" in said
    assert "fraction of peak, median │ 12.5%" in said
    page = (run / "training.html").read_text()
    assert "data:image/png;base64," in page and "mine.xyz 4" in page and "back to step 5" in page
    assert main(["inspect", str(run), "--picture", str(run / "curves.png")]) == 0
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_every_stream_has_its_loss_terms_and_validation_errors_drawn():
    """Of a mixture with every objective the first seven terms were drawn, and of the validation the first eight errors."""
    terms = [f"stream{n}/term{k}" for n in range(5) for k in range(10)]
    errors = [f"valid/stream{n}/error{k}" for n in range(5) for k in range(10)]
    rows = [
        {
            "step": step,
            "train_loss": 1.0,
            "gradient_norm": 1.0,
            "learning_rate": 1e-3,
            **dict.fromkeys(terms, 0.5),
        }
        for step in (1, 2)
    ]
    rows += [{"step": 2, **dict.fromkeys(errors, 0.25)}]
    figure = draw(rows, [])
    found = {
        (axes.get_title().partition(":")[0], text.get_text())
        for axes in figure.axes
        if axes.get_legend() is not None
        for text in axes.get_legend().get_texts()
    }
    assert {
        (f"stream{n}", f"{kind}{k}") for n in range(5) for k in range(10) for kind in ("term", "error")
    } <= found
    assert ("learning rate", "learning rate") in found
    looks = [(line.get_color(), line.get_linestyle()) for line in figure.axes[6].lines]
    assert len(set(looks)) == 10


def test_an_error_that_is_not_finite_is_not_the_best():
    rows = [
        {"step": 1, "valid_score": math.nan},
        {"step": 2, "valid_score": 0.5},
        {"step": 3, "valid_score": math.inf},
    ]
    assert ("valid_score", "inf, best 0.5 at step 2") in table(rows, []).rows
    assert ("valid_score", "nan") in table(rows[:1], []).rows


def test_names_are_shown_whole(run, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    name = "valid/a_stream_with_a_long_name/forces_mae_eV_per_A"
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 30, name: 0.5}) + "\n")
    assert main(["inspect", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown


def test_what_cannot_be_drawn_is_told(run, capsys):
    assert main(["inspect", str(run), "--picture", str(run / "curves.pdf")]) == 2
    assert ".png or .html" in capsys.readouterr().err
    (run / "metrics.jsonl").write_text('{"step": 1}\nnot json\n{"step": 2}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl:2: not JSON"):
        read_rows(run / "metrics.jsonl")
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')  # a kill cut it
    assert len(read_rows(run / "metrics.jsonl")) == 1
    assert write_page(run, run / "page.html").is_file()
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="no lines yet"):
        write_page(run, run / "page.html")
