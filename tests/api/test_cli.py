"""The command line: its surface is pinned here, and a mistake in the input is one line and exit code 2."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import typer

from atomfield.cli import app, main
from atomfield.commands.options import listed, paired, seconds, sources
from atomfield.data.errors import InputError

READING = ["--map", "--units", "--level", "--conformers", "--on-bad", "--max-bad", "--seed"]
NETWORK = ["--device", "--dtype"]
SURFACE = {
    "quickstart": ["--out", "--seed", "--device"],
    "prepare": ["SOURCE...", "--out", "--target", "--target-irreps", *READING, "--workers", "--append",
                "--split", "--by-id", "--fractions", "--without", "--check"],
    "inspect": ["STORE|CHECKPOINT|RUN|FILE", "--picture", "--record", "--check", "--verify", "--target", *READING],
    "models": [],
    "pretrain": ["CONFIG", "--set", "--plan", "--max-time", "--seed", "--device"],
    "finetune": ["[CONFIG]", "--from", "--train", "--valid", "--test", "--target", "--target-irreps", "--out", "--task",
                 "--pooling", "--max-time", "--size", "--on-leak", "--on-wrong", "--set", "--strategy", "--replay", "--control",
                 "--search", "--folds", "--by-id", "--learning-curve", *READING, *NETWORK],
    "evaluate": ["CKPT", "SRC", "--out", "--target", "--train", "--max-edges", *READING, *NETWORK],
    "predict": ["CKPT", "SRC", "--out", "--forces", "--coverage", "--workers", "--max-edges", "--interleave", *READING, *NETWORK],
    "simulate": ["CKPT", "STRUCTURE", "--out", "--mode", "--record", "--steps", "--timestep", "--temperature", "--pressure",
                 "--thermostat", "--fmax", "--cell", "--interval", "--resume", "--stop-when", "--all",
                 "--as-it-is", "--end", "--images",
                 "--supercell", "--level", "--seed", *NETWORK],
    "analyze": ["TRAJECTORY", "--out", "--frame-time", "--skip", "--reach", "--blocks"],
    "rollout": ["CKPT", "SRC", "--out", "--record", "--steps", "--dt", "--resample", "--quantity", "--vtk", "--map", "--units",
                "--level", *NETWORK],
    "export": ["CKPT", "--out", "--level", *NETWORK],
    "identify": ["CONFIG", "--data", "--out", "--seed", "--set"],
}  # fmt: skip
"""Changed on purpose only: arguments by their metavar, options by their name."""
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A network of the smallest size, untrained."""
    import torch

    from atomfield.models.checkpoint import save
    from atomfield.models.config import NetworkConfig
    from atomfield.models.network import AtomFieldNet

    torch.manual_seed(0)
    config = NetworkConfig(
        channels=4, channels_unnatural=0, lmax=1, layers=1, correlation=1, num_radial=4, radial_hidden=4, head_hidden=4,
        levels=("atoms", "flow"), default_level_atoms="atoms", default_level_field="flow",
    )  # fmt: skip
    return save(AtomFieldNet(config), tmp_path_factory.mktemp("run") / "model")


@pytest.fixture
def water(tmp_path) -> Path:
    file = tmp_path / "water.xyz"
    file.write_text(
        "3\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.5\n"
        "O 0 0 0.12 0 0 0.1\nH 0 0.76 -0.48 0 0 -0.05\nH 0 -0.76 -0.48 0 0 -0.05\n" * 2
    )
    return file


def mistake(capsys, *words: object) -> str:
    """Run a command that must fail as a mistake of the user; returns the one line without its prefix."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    out, err = capsys.readouterr()
    lines = err.rstrip("\n").split("\n")
    assert len(lines) == 1, err
    assert not out
    assert lines[0].startswith("atomfield: ")
    return lines[0].removeprefix("atomfield: ")


# ---------------------------------------------------------------- surface
def test_the_commands_are_these():
    assert list(COMMANDS) == list(SURFACE)


@pytest.mark.parametrize("name", SURFACE)
def test_the_options_are_these(name):
    parameters = COMMANDS[name].params
    found = [
        p.metavar if p.param_type_name == "argument" else p.opts[0] for p in parameters if p.name != "help"
    ]
    assert sorted(found) == sorted(SURFACE[name])


@pytest.mark.parametrize("name", SURFACE)
def test_help_is_complete(name, capsys):
    assert all(p.help for p in COMMANDS[name].params)
    assert main([name, "--help"]) == 0
    assert COMMANDS[name].help.split("\n")[0][:30] in capsys.readouterr().out


def test_every_field_of_the_configurations_has_its_option_or_is_set_by_key():
    """An option of `finetune` and `pretrain` is a key of their configurations."""
    from atomfield.finetune.config import FinetuneConfig
    from atomfield.pretrain.config import PretrainConfig

    for name, config in {"finetune": FinetuneConfig, "pretrain": PretrainConfig}.items():
        keys = {field.alias or key for key, field in config.model_fields.items()}
        options = {
            word.removeprefix("--").replace("-", "_") for word in SURFACE[name] if word.startswith("--")
        }
        assert options - keys <= {"set", "plan", "size"}  # size stands in network


def test_the_page_is_that_of_the_commands():
    """docs/cli.md is written by docs/make_cli.py."""
    docs = Path(__file__).parents[2] / "docs"
    if not docs.is_dir():
        pytest.skip("looks at the source tree")
    assert (docs / "cli.md").read_text(encoding="utf-8") == runpy.run_path(str(docs / "make_cli.py"))[
        "page"
    ]()


def test_version_and_the_launchers_rank(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("atomfield ")
    assert main(["--local_rank=1", "--version"]) == 0


# ---------------------------------------------------------------- values
def test_lists_take_commas_and_repeats():
    assert listed(["energy,forces", " stress "]) == ("energy", "forces", "stress")
    assert listed([r"solubility\, mol/l", "a,"]) == ("solubility, mol/l", "a")
    assert listed(None) == ()
    assert paired(["energy=REF_energy,forces=REF_forces", "smiles=SMILES"], "--map") == {
        "energy": "REF_energy",
        "forces": "REF_forces",
        "smiles": "SMILES",
    }


def test_sources_may_have_commas_in_their_names(tmp_path):
    (tmp_path / "a,b.xyz").touch()
    assert sources([str(tmp_path / "a,b.xyz"), "c,d"]) == (str(tmp_path / "a,b.xyz"), "c", "d")
    assert sources(None) is None


@pytest.mark.parametrize("text", ["energy", "=x", "energy=", "energy=a,energy=b"])
def test_pairs_that_are_wrong(text):
    with pytest.raises(InputError, match="--map"):
        paired([text], "--map")


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400), ("1h0m5s", 3605)]
)
def test_times(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["30", "m", "", "0m", "30 minutes", "5m1h"])
def test_times_that_are_wrong(text):
    with pytest.raises(InputError, match="expected a time such as 90s, 30m or 1h30m"):
        seconds(text)


# ---------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fintune"], "No such command 'fintune'"),
        (["predict", "x"], "Missing argument 'SRC'"),
        (["predict", "a", "b", "c", "--out", "d"], "extra argument(s) (c)"),
        (["predict", "a", "b", "--out", "d", "--on-bad", "maybe"], "maybe"),
        (["predict", "a", "b", "--out", "d", "--outt", "e"], "No such option: --outt"),
        (["finetune", "--target", "energy", "forces"], "forces: found an extra word"),
        (
            ["finetune", "--train", "a", "--target", "b"],
            "--from is missing: give it (atomfield-s ships with the package)",
        ),
        (
            ["finetune", "--from", "a", "--train", "b", "--target", "c", "--size", "s"],
            "--size: a checkpoint has a size",
        ),
        (["finetune", "--max-time", "5"], "--max-time: found '5', expected a time"),
        (["pretrain", "nothing.yaml"], "nothing.yaml: no such file"),
        (["predict", "no-folder", "b", "--out", "d.csv"], "no-folder: found nothing, expected a checkpoint"),
    ],
)
def test_the_line_itself_is_wrong(words, said, capsys):
    assert said in mistake(capsys, *words)


def test_unknown_key_of_a_configuration(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text("streams:\n  - source: starter/molecules\noptimizer:\n  learning_rte: 1e-3\n")
    said = mistake(capsys, "pretrain", file)
    assert said == f"{file}:4: unknown key 'optimizer.learning_rte'; did you mean 'learning_rate'?"


def test_missing_file(tmp_path, checkpoint, capsys):
    file = tmp_path / "nothing.xyz"
    assert str(file) in mistake(capsys, "prepare", file, "--out", tmp_path / "store")
    assert str(file) in mistake(capsys, "predict", checkpoint, file, "--out", tmp_path / "out.csv")
    assert str(file) in mistake(capsys, "inspect", file)
    assert not (tmp_path / "store").exists()


def test_smiles_that_does_not_parse(tmp_path, capsys):
    file = tmp_path / "list.csv"
    file.write_text("smiles,y\nCCO,1\nC1CC,2\n")
    said = mistake(capsys, "prepare", file, "--target", "y", "--out", tmp_path / "store")
    assert said.startswith(f"{file}:3 (record 1): ")
    assert "C1CC" in said


def test_coordinates_that_are_not_numbers(tmp_path, water, capsys):
    water.write_text(water.read_text().replace("H 0 0.76", "H 0 nan", 1))
    said = mistake(capsys, "prepare", water, "--out", tmp_path / "store")
    assert str(water) in said
    assert "record 0" in said
    assert "nan" in said


def test_wrong_shape(tmp_path, capsys):
    file = tmp_path / "short.xyz"
    file.write_text("2\nProperties=species:S:1:pos:R:3:forces:R:3 energy=0\nH 0 0 0 0 0 0\nH 0 0 0.74 0 0\n")
    said = mistake(capsys, "prepare", file, "--out", tmp_path / "store")
    assert str(file) in said
    assert "record 0" in said


def test_target_that_is_not_in_the_file(tmp_path, water, checkpoint, capsys):
    words = ["finetune", "--from", checkpoint, "--train", water, "--out", tmp_path / "out", "--target"]
    assert str(water) in (said := mistake(capsys, *words, "dipole"))
    assert "dipole" in said
    assert "stress" in mistake(
        capsys, "evaluate", checkpoint, water, "--target", "stress", "--out", tmp_path / "out"
    )


def test_a_mistake_keeps_its_traceback_when_asked(monkeypatch):
    monkeypatch.setenv("ATOMFIELD_DEBUG", "1")
    with pytest.raises(InputError):
        main(["pretrain", "nothing.yaml"])


def test_errors_of_the_program_are_not_hidden(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("atomfield.config.load_config", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["pretrain", "x"])


# ---------------------------------------------------------------- main jobs
def test_prepare_skips_and_reports(tmp_path, water, capsys):
    water.write_text(water.read_text().replace("H 0 0.76", "H 0 nan", 1))
    out = tmp_path / "store"
    assert main(["prepare", str(water), "--out", str(out), "--on-bad", "skip", "--max-bad", "0.5"]) == 0
    assert "skipped 1 bad record" in capsys.readouterr().err
    assert len(json.loads((out / "bad_records.json").read_text())) == 1
    assert main(["inspect", str(out), "--picture", str(tmp_path / "one.png")]) == 0
    assert (tmp_path / "one.png").stat().st_size > 1000
    assert "there is no record 1" in mistake_after_output(
        capsys, "inspect", out, "--picture", tmp_path / "x.png", "--record", 1
    )


@pytest.mark.parametrize("command", ["prepare", "inspect", "evaluate", "predict", "finetune"])
def test_too_many_bad_records_are_an_error_in_every_command(tmp_path, water, checkpoint, capsys, command):
    """One of two records is bad: more than the default 1 %, and less than --max-bad 0.6."""
    water.write_text(water.read_text().replace("H 0 0.76", "H 0 nan", 1))
    out, other = tmp_path / "out.csv", tmp_path / "other.xyz"
    other.write_text(water.read_text())
    words = {
        "prepare": [water, "--out", tmp_path / "store"],
        "inspect": [water],
        "evaluate": [checkpoint, water, "--out", out, "--target", "energy"],
        "predict": [checkpoint, water, "--out", out],
        "finetune": ["--from", checkpoint, "--train", water, "--valid", other, "--target", "energy", "--out", out,
                     "--set", "steps=1"],
    }[command]  # fmt: skip
    skip = [command, *words, "--on-bad", "skip"]
    said = mistake_after_output(capsys, *skip)
    assert "skipped 1 of 2 records (50.0%), more than --max-bad 0.01 allows" in said
    assert not out.exists()
    assert "allows" in mistake_after_output(capsys, *skip, "--max-bad", "0.4")
    if command == "finetune":  # the records that are left are too few, after reading
        assert "2 records for training and validation, expected at least" in mistake_after_output(
            capsys, *skip, "--max-bad", "0.6"
        )
    else:
        assert main([str(word) for word in [*skip, "--max-bad", "0.6"]]) == 0


def mistake_after_output(capsys, *words: object) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err


def test_inspect_a_checkpoint_and_a_run(checkpoint, capsys):
    run = checkpoint.parent
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 1.25}\n')
    assert main(["inspect", str(run)]) == 0
    out = capsys.readouterr().out
    assert "1.25" in out
    assert "sha256" in out
    assert "flow" in out


def test_evaluate_predict_and_simulate(tmp_path, water, checkpoint, capsys):
    assert main(["evaluate", str(checkpoint), str(water), "--out", str(tmp_path / "report")]) == 0
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["forces_mae_eV_per_A"] >= 0
    assert (tmp_path / "report" / "report.html").is_file()
    assert (
        main(["predict", str(checkpoint), str(water), "--out", str(tmp_path / "new" / "answers.extxyz")]) == 0
    )
    assert (tmp_path / "new" / "answers.extxyz").read_text().count(" energy=") == 2
    before = water.read_bytes()
    assert "is the source itself" in mistake_after_output(
        capsys, "predict", checkpoint, water, "--out", water
    )
    assert water.read_bytes() == before
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in mistake_after_output(
        capsys, "predict", checkpoint, water, "--out", tmp_path / "folder.csv"
    )
    words = [
        "simulate",
        str(checkpoint),
        str(water),
        "--mode",
        "nve",
        "--steps",
        "5",
        "--interval",
        "1",
        "--dtype",
        "float64",
    ]
    assert main([*words, "--out", str(tmp_path / "md")]) == 0
    assert "meV/atom/ps" in capsys.readouterr().out
    assert len((tmp_path / "md" / "log.csv").read_text().splitlines()) == 7
    assert (tmp_path / "md" / "trajectory.extxyz").is_file()
    assert "there is no record 7" in mistake(capsys, *words, "--record", 7, "--out", tmp_path / "md")
    assert "is a file, expected a folder" in mistake(capsys, *words, "--out", water)
    assert "fmax is 0.0" in mistake(
        capsys, *words[:3], "--mode", "vibrations", "--fmax", 0, "--out", tmp_path / "none"
    )


def test_simulate_stops_resumes_and_is_analyzed(tmp_path, water, checkpoint, capsys):
    words = [
        "simulate",
        checkpoint,
        water,
        "--mode",
        "nvt",
        "--timestep",
        "0.1",
        "--interval",
        "1",
        "--out",
        tmp_path / "md",
    ]

    def run(*more: object) -> int:
        return main([str(word) for word in [*words, *more]])

    assert run("--steps", "60", "--stop-when", "temperature>1") == 3
    assert "STOPPED: the temperature is" in capsys.readouterr().out
    assert run("--steps", "60") == 0
    assert run("--steps", "120", "--resume") == 0
    assert "60 steps in" in capsys.readouterr().out
    assert len((tmp_path / "md" / "log.csv").read_text().splitlines()) == 122
    said = mistake(capsys, *words, "--steps", 130, "--resume", "--temperature", 500)
    assert "had temperature = 300.0, now it is 500.0" in said
    assert main(["analyze", str(tmp_path / "md"), "--out", str(tmp_path / "found")]) == 0
    numbers = json.loads((tmp_path / "found" / "metrics.json").read_text())
    assert {"diffusion_O_cm2_per_s", "diffusion_H_error_cm2_per_s"} <= set(numbers)
    assert (tmp_path / "found" / "msd.png").stat().st_size > 5000
    plain = [*words[:3], "--out", tmp_path / "other"]
    for wrong, said in (
        (["--stop-when", "force<3"], "--stop-when: found 'force<3'"),
        (["--mode", "neb"], "neb needs the other end"),
        (["--mode", "elastic", "--as-it-is"], "periodic in three directions"),
        (["--mode", "phonons", "--supercell", "2,2"], "--supercell: found '2,2'"),
        (["--mode", "nve", "--all"], "relaxed in fixed cells"),
    ):
        assert said in mistake(capsys, *plain, *wrong)
    assert "no such file" in mistake(capsys, "analyze", tmp_path / "nothing", "--out", tmp_path / "x")


@pytest.mark.parametrize("rank", ["0", "1"])
def test_what_readers_say_is_on_the_screen_once(tmp_path, capsys, monkeypatch, rank):
    monkeypatch.setenv("RANK", rank)
    (tmp_path / "a.csv").write_text("smiles,solubility\nCCO,1.5\nCCC,2.5\n")
    assert main(["prepare", str(tmp_path / "a.csv"), "--out", str(tmp_path / "store"), "--no-check"]) == 0
    said = "columns solubility; name those to be read with --target" in capsys.readouterr().err
    assert said == (rank == "0")


def test_a_store_takes_declared_targets(tmp_path, water):
    out = tmp_path / "store"
    words = [
        "prepare",
        water,
        "--target",
        "pull",
        "--map",
        "pull=forces",
        "--target-irreps",
        "pull=1o/atom",
        "--out",
        out,
    ]
    assert main([str(word) for word in words]) == 0
    from atomfield.data.store import Store

    assert Store(out)[0].definition("pull").irreps == "1o" and Store(out)[0].quantities["pull"].shape == (
        3,
        3,
    )


def test_predict_says_what_a_table_leaves_out_and_nothing_of_labels(tmp_path, checkpoint, capsys):
    (tmp_path / "a.csv").write_text("smiles,solubility\nO,1.5\nC,2.5\n")
    words = ["predict", checkpoint, tmp_path / "a.csv", "--out", tmp_path / "answers.csv"]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr().err
    assert "values per atom are left out: forces, charges; .extxyz and .parquet hold them" in said
    assert "--target" not in said


def test_a_checkpoint_is_looked_for_before_records_are_read(tmp_path, water, capsys):
    water.write_text("no structure")
    words = [
        "finetune",
        "--from",
        tmp_path / "none",
        "--train",
        water,
        "--target",
        "energy",
        "--out",
        tmp_path / "run",
    ]
    assert "expected a checkpoint" in mistake(capsys, *words)
